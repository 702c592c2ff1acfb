"""All tiles and features there are, found by being in `featurestore/features`."""

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType

from featurestore.authoring import Declaration, columns_of, declaration_of, nearest
from featurestore.levels import list_fields
from featurestore.registration import MODALITIES, derived_spec, feature_spec, field_spec, tile_spec, window_text
from featurestore.specs import BORDER_S, LONGEST_WINDOW_TILES, DerivedSpec, FeatureSpec, FieldSpec, TileSpec, level_of
from schemas import TICKS, FeatureError, Rules

__all__ = ["Catalogue", "DerivedSpec", "FeatureSpec", "FieldSpec", "TileSpec", "level_of"]

FEATURES = Path(__file__).parent / "features"


@dataclass(frozen=True)
class Catalogue:
    """Tiles and features of one profile; tiles and features sorted by name, derived tiles by need."""

    tiles: tuple[TileSpec, ...]
    derived: tuple[DerivedSpec, ...]
    """In topological order: a derived tile comes after those that it reads."""
    features: tuple[FeatureSpec, ...]
    fields: tuple[FieldSpec, ...] = ()
    """What tiles read that is made of the lists of a record, sorted by name."""
    former: tuple[FeatureSpec, ...] = ()
    """Features as they were before their version was raised; in force where their set was announced."""

    @classmethod
    def discover(cls, rules: Rules = TICKS, *, folders: Iterable[Path] = ()) -> "Catalogue":
        """Return what `featurestore/features` (and `folders`) declare, as far as it fits `rules`.

        What is meant for another tile interval, or has a window shorter than a tile, is left out
        together with all that reads it. Raises `FeatureError` where a declaration is wrong.
        """
        return cls.of(declarations_in((FEATURES, *folders)), rules)

    @classmethod
    def of(cls, declarations: Iterable[Declaration], rules: Rules = TICKS) -> "Catalogue":
        """Return the catalogue of these declarations; raises `FeatureError`."""
        return _Builder(tuple(declarations), rules).build()

    @cached_property
    def feature_set_id(self) -> str:
        """Return 12 hex digits that name the features and their versions."""
        return feature_set_id_of(self.versions)

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """Return the record types behind the features, in their fixed order."""
        behind = {record for feature in self.features for record in feature.records}
        return tuple(record for record in MODALITIES if record in behind)

    @cached_property
    def known(self) -> Mapping[tuple[str, str], FeatureSpec]:
        """Return the features in use and the former ones, by name and version."""
        return {(spec.name, spec.version): spec for spec in (*self.former, *self.features)}

    @property
    def versions(self) -> dict[str, str]:
        """Return the version of each feature by its name."""
        return {feature.name: feature.version for feature in self.features}

    @cached_property
    def series(self) -> Mapping[str, TileSpec | DerivedSpec]:
        """Return tiles, derived tiles and market series by name."""
        specs: list[TileSpec | DerivedSpec] = [*self.tiles, *self.derived]
        return {spec.name: spec for spec in specs}

    def feature(self, name: str) -> FeatureSpec:
        """Return the feature of this name; raises `FeatureError` where there is none."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise FeatureError(f"feature {name!r}: there is {nearest(name, list(self.versions))}")

    def lineage(self, name: str) -> tuple[str, ...]:
        """Return the series that a feature is made of, nearest first."""
        found: dict[str, None] = {}
        waiting = list(self.feature(name).inputs)
        while waiting:
            series = waiting.pop(0)
            if series in self.series and series not in found:
                found[series] = None
                spec = self.series[series]
                waiting += spec.inputs if isinstance(spec, DerivedSpec) else ()
        return tuple(found)

    def subset(self, names: Iterable[str]) -> "Catalogue":
        """Return the catalogue of these features and what they are made of."""
        features = tuple(sorted((self.feature(name) for name in set(names)), key=lambda spec: spec.name))
        needed = {series for feature in features for series in self.lineage(feature.name)}
        tiles = tuple(spec for spec in self.tiles if spec.name in needed)
        return Catalogue(
            tiles=tiles,
            derived=tuple(spec for spec in self.derived if spec.name in needed),
            features=features,
            fields=tuple(spec for spec in self.fields if any(spec in tile.fields for tile in tiles)),
        )

    def require_unchanged(self, announced: Mapping[str, str]) -> None:
        """Raise `FeatureError` where code changed under an unchanged name and `version=`."""
        for feature in self.features:
            before = announced.get(feature.name, feature.version)
            label = feature.version.rpartition("-")[0]
            if label and before != feature.version and before.rpartition("-")[0] == label:
                raise FeatureError(
                    f"{feature.file} {feature.quantity}: its code or inputs changed under version={label!r} "
                    f"({before} was announced, this is {feature.version}); give it a new version="
                )


def feature_set_id_of(versions: Mapping[str, str]) -> str:
    """Return 12 hex digits that name features with these versions, in any order."""
    text = "\n".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def declarations_in(folders: Iterable[Path]) -> Iterator[Declaration]:
    """Yield what the Python files of the folders declare, by file name and place in the file."""
    for folder in folders:
        for path in sorted(folder.glob("*.py")):
            if path.name != "__init__.py":
                yield from _declarations_of(_load(path))


def _load(path: Path) -> ModuleType:
    """Run a file as it is now, whatever was imported before."""
    name = f"featurestore.features.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FeatureError(f"{path.name}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except FeatureError:
        raise
    except Exception as error:
        raise FeatureError(f"{path.name}: {type(error).__name__}: {error}".split("\n")[0]) from error
    return module


def _declarations_of(module: ModuleType) -> Iterator[Declaration]:
    for value in vars(module).values():
        declaration = declaration_of(value)
        if declaration is not None and declaration.function.__module__ == module.__name__:
            yield declaration


class _Builder:
    """Checks declarations against one another and makes specs of those that fit the rules."""

    def __init__(self, declarations: tuple[Declaration, ...], rules: Rules) -> None:
        self.rules = rules
        marked = [each for each in declarations if each.kind == "feature"]
        self.features = tuple(each for each in marked if not each.former)
        self.former = tuple(each for each in marked if each.former)
        columns = [each for each in declarations if each.kind == "field"]
        self.series = _by_name([each for each in declarations if each.kind not in {"feature", "field"}])
        _by_name(self.features)
        _by_name([*columns, *self.series.values()])
        self.fields = tuple(sorted(map(field_spec, columns), key=lambda spec: spec.name))
        self.versions = {BORDER_S: BORDER_S}
        self.records: dict[str, frozenset[str]] = {BORDER_S: frozenset()}
        self.specs: dict[str, TileSpec | DerivedSpec] = {}

    def build(self) -> Catalogue:
        for declaration in (*self.series.values(), *self.features, *self.former):
            self.check_inputs(declaration)
        self.check_former()
        for name in self.order():
            self.add_series(self.series[name])
        features = [spec for declaration in self.features for spec in self.feature_specs(declaration)]
        former = [spec for declaration in self.former for spec in self.feature_specs(declaration)]
        specs = self.specs.values()
        return Catalogue(
            tiles=tuple(sorted((spec for spec in specs if isinstance(spec, TileSpec)), key=lambda spec: spec.name)),
            derived=tuple(spec for spec in specs if isinstance(spec, DerivedSpec)),
            features=tuple(sorted(features, key=lambda spec: spec.name)),
            fields=self.fields,
            former=tuple(sorted(former, key=lambda spec: (spec.name, spec.version))),
        )

    def check_former(self) -> None:
        """Raise `FeatureError` where former code is of nothing, or of the version that is in use."""
        labels = {each.name: each.label for each in self.features}
        for declaration in self.former:
            if declaration.name not in labels:
                raise declaration.error(f"no feature {declaration.name!r} that it could be the former code of")
            if declaration.label == labels[declaration.name]:
                raise declaration.error(f"version={declaration.label!r} is in use: raise that of {declaration.name}")

    def check_inputs(self, declaration: Declaration) -> None:
        if declaration.kind == "tile":
            self.check_columns(declaration)
            return
        for name in declaration.inputs:
            if name not in self.series and name != BORDER_S:
                found = nearest(name, [*self.series, BORDER_S])
                raise declaration.error(f"no tile {name!r} to read; there is {found}")
            if declaration.kind != "feature" and name in self.series and self.series[name].kind == "market":
                raise declaration.error(f"{name!r} is a market series, which only features read")

    def check_columns(self, declaration: Declaration) -> None:
        """Raise `FeatureError` where a tile of a record with lists reads what nobody makes of them."""
        record = declaration.record
        if record is None or not list_fields(record):
            return
        columns = (*columns_of(record), *(each.name for each in self.fields if each.record == record.record))
        for name in declaration.inputs:
            if name not in columns:
                found = nearest(name, columns)
                raise declaration.error(
                    f"{record.__name__} has no field {name!r}, and no @field({record.__name__}) makes it; "
                    f"there is {found}"
                )

    def order(self) -> list[str]:
        """Return the series' names, each after those that it reads."""
        reads = {
            name: sorted(set(each.inputs) & self.series.keys()) if each.kind != "tile" else []
            for name, each in sorted(self.series.items())
        }
        try:
            return list(TopologicalSorter(reads).static_order())
        except CycleError as error:
            first, *_ = error.args[1]
            raise self.series[first].error(f"reads itself by way of {' < '.join(error.args[1])}") from None

    def add_series(self, declaration: Declaration) -> None:
        if declaration.kind == "tile":
            if self.is_meant(declaration):
                tile = tile_spec(declaration, self.fields)
                self.add(tile, frozenset({tile.record}))
        elif self.fits(declaration):
            behind = frozenset[str]().union(*(self.records[each] for each in declaration.inputs))
            derived = derived_spec(declaration, self.versions, self.rules)
            self.add(derived, frozenset() if derived.market else behind)

    def add(self, spec: TileSpec | DerivedSpec, records: frozenset[str]) -> None:
        self.specs[spec.name] = spec
        self.versions[spec.name] = f"{spec.name}:{spec.version}"
        self.records[spec.name] = records

    def fits(self, declaration: Declaration) -> bool:
        """Return whether all inputs exist in this profile and the window is whole tiles."""
        window_ns = next(iter(declaration.windows_ns), 0)
        whole = window_ns % self.rules.tile_interval_ns == 0
        return whole and self.is_meant(declaration) and all(name in self.versions for name in declaration.inputs)

    def is_meant(self, declaration: Declaration) -> bool:
        """Return whether a declaration is for this profile's tile interval."""
        return declaration.interval_ns in (0, self.rules.tile_interval_ns)

    def feature_specs(self, declaration: Declaration) -> Iterator[FeatureSpec]:
        if not self.is_meant(declaration) or not all(name in self.versions for name in declaration.inputs):
            return
        behind = frozenset[str]().union(*(self.records[each] for each in declaration.inputs))
        for window_ns in declaration.windows_ns:
            if window_ns == 0 or window_ns >= self.rules.tile_interval_ns:
                self.check_level(declaration, window_ns)
                yield feature_spec(declaration, window_ns, self.versions, behind)

    def check_level(self, declaration: Declaration, window_ns: int) -> None:
        """Raise `FeatureError` where a window needs minutes or hours of a tile that does not merge."""
        try:
            level_ns, _ = level_of(window_ns, self.rules)
        except FeatureError as error:
            raise declaration.error(str(error)) from None
        if level_ns == self.rules.tile_interval_ns:
            return
        for name in declaration.inputs:
            if name != BORDER_S and self.specs[name].combine is None:
                raise declaration.error(
                    f"window {window_text(window_ns)} is too long for {name!r}, which has no combine= to make "
                    f"{window_text(level_ns)} tiles; at most {self.longest()}"
                )

    def longest(self) -> str:
        return window_text(LONGEST_WINDOW_TILES * self.rules.tile_interval_ns)


def _by_name(declarations: Iterable[Declaration]) -> dict[str, Declaration]:
    found: dict[str, Declaration] = {}
    for declaration in declarations:
        other = found.setdefault(declaration.name, declaration)
        if other is not declaration:
            raise declaration.error(f"{other.path.name} has a {other.kind} of this name; choose another one")
        if declaration.name == BORDER_S:
            raise declaration.error(f"{BORDER_S!r} is the reserved name of the tiles' end times")
    return found
