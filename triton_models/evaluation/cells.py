"""Scores and tests of a cell: one instrument at one horizon, all models on the same origins as the baseline."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from schemas.rules import DAY_NS
from schemas.tensors import HORIZON_NS, QUANTILES
from triton_models.evaluation.comparison import confidence_set, diebold_mariano
from triton_models.evaluation.definitions import HAC_LAGS, ORIGIN_STEP_NS
from triton_models.evaluation.panel import Flags, Forecasts
from triton_models.evaluation.scores import covered, pit, pit_histogram, qlike, summary
from triton_models.evaluation.walk import Walked
from triton_models.har import Floats, Times

BASELINES = ("har-plain", "har-seas", "har-ref", "garch", "mean", "combined-without-networks")
"""Each model is held against these."""
ANCHOR = "har-ref"
"""The model whose losses say which week is the worst."""
WEEK_NS = 7 * DAY_NS
ROLLING_NS = {"5m": WEEK_NS, "1h": WEEK_NS, "1d": 4 * WEEK_NS}
"""Spans over which coverage is watched: a day ahead, a week is seven outcomes."""
_FEWEST_KNOWN_RATIO = 0.5


def cell_of(walked: Walked, index: int, regime: Floats | None) -> dict[str, dict[str, Any]]:
    """Return what is known of one instrument's forecasts, by model; `regime` (T,) is 0 for calm, 1 for wild."""
    realised = walked.realised[:, index]
    made = {name: Forecasts(one.mean[:, index], one.quantiles[:, index]) for name, one in walked.forecasts.items()}
    losses = {name: qlike(realised, one.mean) for name, one in made.items()}
    calm_weeks = ~_worst_week(walked.grid.origin_time_ns, losses[ANCHOR]) if ANCHOR in losses else None
    members = confidence(walked.horizon, losses)
    found = {}
    for name, one in made.items():
        scores: dict[str, Any] = dict(summary(realised, one.mean, one.quantiles))
        if not scores["count"]:
            continue
        scores["centred_qlike"] = centred_qlike(realised, one.mean)
        scores["confidence_set_p"] = members.get(name)
        if calm_weeks is not None:
            scores["qlike_without_worst_week"] = _mean(losses[name][calm_weeks])
        scores |= _calibration(walked, realised, one, regime)
        scores["against"] = {
            base: _against(walked.horizon, losses, realised, (one.mean, made[base].mean), (name, base), calm_weeks)
            for base in BASELINES
            if base in losses and base != name
        }
        found[name] = scores
    return found


def centred_qlike(realised: Floats, mean: Floats) -> float:
    """Return QLIKE after the constant factor that would have been best: what is not bias.

    log mean(RV / f) - mean(log(RV / f)).

    >>> round(centred_qlike(np.array([1.0, 2.0]), np.array([5.0, 10.0])), 12) + 0.0
    0.0
    """
    ratio = realised / mean
    known = ratio[np.isfinite(ratio)]
    return float(np.log(known.mean()) - np.log(known).mean()) if len(known) else float("nan")


def confidence(horizon: str, losses: Mapping[str, Floats]) -> dict[str, float]:
    """Return each model's p-value of the model confidence set, of models that know most origins."""
    counts = {name: int(np.isfinite(loss).sum()) for name, loss in losses.items()}
    most = max(counts.values(), default=0)
    names = [name for name, count in counts.items() if count > _FEWEST_KNOWN_RATIO * most]
    table = np.stack([losses[name] for name in names], axis=-1) if names else np.empty((0, 0))
    block = HAC_LAGS[horizon]
    if np.isfinite(table).all(-1).sum() < 2 * block:
        return {}
    return confidence_set(table, names, block=block)


def _against(
    horizon: str,
    losses: Mapping[str, Floats],
    realised: Floats,
    means: tuple[Floats, Floats],
    names: tuple[str, str],
    calm_weeks: Flags | None,
) -> dict[str, float]:
    """Return ratios and the Diebold-Mariano test of a model against a baseline, on origins that both know."""
    first, second = losses[names[0]], losses[names[1]]
    both = np.isfinite(first) & np.isfinite(second)
    rest = both if calm_weeks is None else both & calm_weeks
    steps = max(HORIZON_NS[horizon] // ORIGIN_STEP_NS[horizon], 1)
    test = diebold_mariano(first, second, lags=HAC_LAGS[horizon], steps=steps)
    known = np.where(both, realised, np.nan)
    return {
        "ratio": _ratio(_mean(first[both]), _mean(second[both])),
        "centred_ratio": _ratio(centred_qlike(known, means[0]), centred_qlike(known, means[1])),
        "ratio_without_worst_week": _ratio(_mean(first[rest]), _mean(second[rest])),
        "dm_statistic": test.statistic,
        "dm_p": test.p_value,
        "origins": test.origins,
    }


def _calibration(walked: Walked, realised: Floats, one: Forecasts, regime: Floats | None) -> dict[str, Any]:
    low, high = one.quantiles[:, 0], one.quantiles[:, -1]
    inside = covered(realised, low, high)
    found: dict[str, Any] = {"worst_rolling_coverage_90": _worst_rolling(walked, inside)}
    found["pit_histogram"] = pit_histogram(pit(np.log(realised), np.log(one.quantiles))).round(5).tolist()
    if regime is not None:
        found["coverage_90_by_regime"] = {
            name: _mean(inside[regime == state]) for state, name in enumerate(("calm", "wild"))
        }
    found["hits_by_level"] = {
        str(level): _mean(np.where(np.isfinite(inside), realised <= one.quantiles[:, place], np.nan))
        for place, level in enumerate(QUANTILES)
    }
    return found


def _worst_week(times: Times, loss: Floats) -> Flags:
    """Return the origins (T,) of the seven days, counted from the first, with the greatest sum of losses."""
    week = (times - times[0]) // WEEK_NS
    sums = np.bincount(week, np.where(np.isfinite(loss), loss, 0.0))
    return np.asarray(week == sums.argmax(), np.bool_)


def _worst_rolling(walked: Walked, inside: Floats) -> float:
    """Return the least coverage of any span of a week, at a day ahead of four, at least half known."""
    span = ROLLING_NS[walked.horizon] // ORIGIN_STEP_NS[walked.horizon]
    if len(inside) < span:
        return float("nan")
    known = np.isfinite(inside)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, inside, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    number = count[span:] - count[:-span]
    usable = number >= _FEWEST_KNOWN_RATIO * span
    return float(((total[span:] - total[:-span])[usable] / number[usable]).min()) if usable.any() else float("nan")


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _ratio(first: float, second: float) -> float:
    return first / second if second > 0 else float("nan")
