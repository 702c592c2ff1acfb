"""All tiles and features there are, found by being in `featurestore/features`."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from featurestore.specs import DerivedSpec, FeatureSpec, TileSpec, level_of
from schemas import TICKS, Rules

__all__ = ["Catalogue", "DerivedSpec", "FeatureSpec", "TileSpec", "level_of"]


@dataclass(frozen=True)
class Catalogue:
    """Tiles and features of one profile; each tuple sorted by name, derived tiles by need."""

    tiles: tuple[TileSpec, ...]
    derived: tuple[DerivedSpec, ...]
    """In topological order: a derived tile comes after those that it reads."""
    features: tuple[FeatureSpec, ...]

    @cached_property
    def feature_set_id(self) -> str:
        """Return 12 hex digits that name the features and their versions."""
        text = "\n".join(f"{feature.name} {feature.version}" for feature in self.features)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @classmethod
    def discover(cls, rules: Rules = TICKS, *, folders: Iterable[Path] = ()) -> "Catalogue":
        """Return what `featurestore/features` (and `folders`) declare, as far as `rules` allow."""
        raise NotImplementedError

    def subset(self, names: Iterable[str]) -> "Catalogue":
        """Return the catalogue of these features and what they need."""
        raise NotImplementedError
