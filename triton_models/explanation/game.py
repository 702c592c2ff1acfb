"""The game that explanations share out: what a coalition of modalities makes of the log expected variance."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from schemas.errors import InferenceError
from triton_models.bundle import Bundle, Spec
from triton_models.explanation.coalitions import Flags, Tensors, all_coalitions, mixed
from triton_models.predictor import Batch, Predictor

Floats = npt.NDArray[np.float64]
Value = Callable[[Tensors], Floats]
"""Tensors of K coalitions to the log of the expected variance (K, H)."""

MOST_MODALITIES = 12
"""2^12 forecasts of an LSTM take seconds."""


class Game:
    """Coalitions of the M modalities of one forecast, against a reference."""

    def __init__(self, spec: Spec, value: Value, seen: Tensors, reference: Tensors) -> None:
        self.spec, self.seen, self.reference = spec, seen, reference
        self._value = value

    def values(self, present: Flags) -> Floats:
        """Return the value (K, H) of each coalition (K, M).

        Raises:
            InferenceError: where one has no forecast.
        """
        found = self._value(mixed(self.spec, self.seen, self.reference, present))
        if not np.isfinite(found).all():
            raise InferenceError(f"{self.spec.name}: a coalition of modalities has no forecast; the base is not known")

        return found

    @cached_property
    def table(self) -> Floats:
        """The values (2^M, H) of all coalitions, in the order of `all_coalitions`."""
        modalities = len(self.spec.modalities)
        if modalities > MOST_MODALITIES:
            raise InferenceError(f"{self.spec.name}: expected at most {MOST_MODALITIES} modalities, got {modalities}")
        return self.values(all_coalitions(modalities))


def whole(predictor: Predictor, origin_time_ns: int) -> Value:
    """Return the value of a network's whole forecast, its base included."""

    def value(tensors: Tensors) -> Floats:
        return np.log(predictor.predict(_batch(tensors, origin_time_ns))["mean"].astype(np.float64))

    return value


def base_alone(bundle: Bundle, origin_time_ns: int) -> Value:
    """Return the value of the base without the network's correction."""

    def value(tensors: Tensors) -> Floats:
        origin = np.full(len(tensors.features), origin_time_ns, np.int64)
        return bundle.har_forecast(tensors.features, tensors.mask, origin).mean

    return value


def _batch(tensors: Tensors, origin_time_ns: int) -> Batch:
    features, mask, age = (torch.from_numpy(np.ascontiguousarray(part)) for part in tensors)
    return Batch(features, mask, age, torch.full((len(features), 1), origin_time_ns))
