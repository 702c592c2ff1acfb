"""Tensors in which some modalities are as they were seen and the others as in a reference. Numpy alone.

M modalities are the players of a game (Shapley 1953): each with all its features, their masks and its age.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from triton_models.bundle import Spec

Singles = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

NEVER = np.float32(-1.0)


class Tensors(NamedTuple):
    """Inputs of a model for one instrument: (T, F), (T, F), (T, M); or for K of them, with that axis first."""

    features: Singles
    mask: Singles
    age: Singles


def all_coalitions(modalities: int) -> Flags:
    """Return (2^M, M): in row k modality m is present where bit m of k is set.

    >>> all_coalitions(2).tolist()
    [[False, False], [True, False], [False, True], [True, True]]
    """
    return np.asarray((np.arange(1 << modalities)[:, None] >> np.arange(modalities)) % 2 == 1)


def all_but_one(modalities: int) -> Flags:
    """Return (M + 1, M): first the coalition of all, then for each modality all but it."""
    return np.concatenate([np.ones((1, modalities), bool), ~np.eye(modalities, dtype=bool)])


def absent(spec: Spec, seen: Tensors) -> Tensors:
    """Return the reference in which no modality was ever heard of: masked, age NEVER, as networks learned to bear.

    Without realised variances the base has no forecast at all: these features are at their medians of
    the training rows instead, as in an ordinary hour. What else it reads may be masked.
    """
    typical = np.array([one.median for one in spec.scaling], np.float32)
    kept = np.isin(spec.features, spec.har.windows)
    shape = seen.features.shape
    return Tensors(
        np.broadcast_to(np.where(kept, typical, np.float32(0)), shape).copy(),
        np.broadcast_to(kept.astype(np.float32), shape).copy(),
        np.full_like(seen.age, NEVER),
    )


def mixed(spec: Spec, seen: Tensors, reference: Tensors, present: Flags) -> Tensors:
    """Return tensors (K, T, ...): per coalition of `present` (K, M), those as seen, the others as in reference."""
    of_feature = present[:, None, np.array(spec.modality_of)]  # (K, 1, F)
    return Tensors(
        np.where(of_feature, seen.features, reference.features),
        np.where(of_feature, seen.mask, reference.mask),
        np.where(present[:, None, :], seen.age, reference.age),
    )
