"""One forecast of one network, explained by every method at once."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from triton_models.explanation.coalitions import Tensors
from triton_models.explanation.faithfulness import deletion_gain, rank_correlation
from triton_models.explanation.game import Game, whole
from triton_models.explanation.gradients import integrated_gradients
from triton_models.explanation.shares import leave_one_out, shapley
from triton_models.explanation.surrogate import surrogate
from triton_models.predictor import Batch, Predictor

Floats = npt.NDArray[np.float64]

SIGNED = ("shapley", "leave-one-out", "integrated-gradients", "lime")
ATTENTION = "attention"


class Explanation(NamedTuple):
    """What a network's log expected variance of one horizon is made of, against a reference."""

    horizon: str
    modalities: tuple[str, ...]
    value: float
    """Log of the expected variance."""
    reference: float
    """The same of the reference."""
    shares: dict[str, dict[str, float]]
    """Method to modality to its share in value - reference; attention: its mass, without sign."""
    base: dict[str, float]
    """Of the integrated gradients, what is of the base: its exact Shapley values."""
    gap: float
    """What integrated gradients miss of value - reference."""
    fidelity: float
    """R2 of the LIME surrogate."""
    deletion: dict[str, float]
    """Method to its gain over deletion in random order."""
    agreement: dict[str, float]
    """Method to its rank correlation with leave-one-out."""


def explain(
    predictor: Predictor,
    seen: Tensors,
    reference: Tensors,
    *,
    horizon: str,
    origin_time_ns: int,
    forecast_id: str,
) -> Explanation:
    """Explain the forecast that a network makes of tensors seen, against a reference.

    Raises:
        InferenceError: where there is no forecast of either.
    """
    spec = predictor.bundle.spec
    at = spec.horizons.index(horizon)
    game = Game(spec, whole(predictor, origin_time_ns), seen, reference)
    gradients = integrated_gradients(predictor, game, origin_time_ns, at)
    linear = surrogate(game.table, forecast_id)
    found: dict[str, Floats] = {
        "shapley": shapley(game.table)[:, at],
        "leave-one-out": leave_one_out(game.table)[:, at],
        "integrated-gradients": gradients.total,
        "lime": linear.weights[:, at],
    }
    mass = attention_mass(predictor, seen, origin_time_ns)
    if mass is not None:
        found[ATTENTION] = mass
    value, before = game.table[-1, at], game.table[0, at]
    return Explanation(
        horizon=horizon,
        modalities=spec.modalities,
        value=float(value),
        reference=float(before),
        shares={method: _named(spec.modalities, share) for method, share in found.items()},
        base=_named(spec.modalities, gradients.base),
        gap=float(value - before - gradients.total.sum()),
        fidelity=float(linear.fidelity[at]),
        deletion={method: deletion_gain(game.table[:, at], share) for method, share in found.items()},
        agreement={method: rank_correlation(share, found["leave-one-out"]) for method, share in found.items()},
    )


def attention_mass(predictor: Predictor, seen: Tensors, origin_time_ns: int) -> Floats | None:
    """Return the mass of attention per modality (M,), a mean over heads; None where a network has none."""
    features, mask, age = (torch.from_numpy(np.ascontiguousarray(part))[None] for part in seen)
    answer = predictor.predict(Batch(features, mask, age, torch.tensor([[origin_time_ns]])))
    if "attention" not in answer:
        return None
    return np.asarray(answer["attention"][0].astype(np.float64).sum(1).mean(0))  # (A, T, M) -> (M,)


def _named(modalities: tuple[str, ...], shares: Floats) -> dict[str, float]:
    return dict(zip(modalities, shares.tolist(), strict=True))
