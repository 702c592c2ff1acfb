"""A whole evaluation: walk, scores, tests, and the three files that say what was found."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from schemas.errors import StateError
from triton_models.evaluation import definitions
from triton_models.evaluation.buckets import Buckets
from triton_models.evaluation.cells import ANCHOR, cell_of
from triton_models.evaluation.combine import MEMBERS, with_combinations
from triton_models.evaluation.definitions import ORIGIN_STEP_NS
from triton_models.evaluation.folds import Folds
from triton_models.evaluation.hits import hit_tests
from triton_models.evaluation.page import write_page
from triton_models.evaluation.panel import Expert, Panel
from triton_models.evaluation.scores import qlike
from triton_models.evaluation.summary import first_lines, summarise
from triton_models.evaluation.walk import MEAN_OF, ForecastsFile, Progress, Walked, walk

FORECASTS, REPORT, PAGE = "forecasts.parquet", "report.json", "report.html"
_WEEK_NS = 7 * 86_400 * 10**9
_FITTED_PART = 0.9
"""Of the progress, what walking takes; the rest is scoring."""


def evaluate(
    panel: Panel,
    folds: Folds,
    experts: Sequence[Expert],
    out: Path,
    *,
    about: Mapping[str, Any],
    progress: Progress = lambda _text, _ratio: None,
) -> dict[str, Any]:
    """Walk, score, write forecasts.parquet, report.json and report.html into `out`; return the report.

    about: what the report repeats of how it was asked for.

    Raises:
        StateError: where nothing was forecast that came to be known.
    """
    buckets = Buckets(panel, folds)
    warmed = folds.warmed(int(panel.row_time_ns.min()))
    report: dict[str, Any] = {"first_lines": [], "about": {**about, **_about(panel, folds, experts)}}
    report["definitions"] = _definitions()
    report["regimes"] = None if buckets.regimes is None else _regimes(buckets)
    report["horizons"] = {}
    with ForecastsFile(out / FORECASTS, panel.instruments) as file:
        for whole in walk(panel, warmed, experts, tuple(definitions.BARS_AHEAD), _part(progress)):
            progress(f"{whole.horizon}: combination and scores", 1.0)
            walked = with_combinations(whole, buckets.of(whole)).since(folds.from_ns)
            file.write(walked)
            found = _horizon(panel, folds, walked, buckets)
            report["horizons"][walked.horizon] = found
            report["first_lines"] += first_lines(walked.horizon, found["summary"]) if found["cells"] else []
    if not report["first_lines"]:
        raise StateError("nothing was forecast that came to be known; are there bars before and behind the origins?")
    report = _plain(report)
    (out / REPORT).write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    write_page(report, out / PAGE)
    return report


def _horizon(panel: Panel, folds: Folds, walked: Walked, buckets: Buckets) -> dict[str, Any]:
    regime = buckets.of(walked)
    cells = {
        name: cell_of(walked, index, None if regime is None else regime[:, index])
        for index, name in enumerate(panel.instruments)
    }
    cells = {name: cell for name, cell in cells.items() if cell}
    return {
        "summary": summarise(cells, panel.held_out) if cells else {},
        "cells": cells,
        "value_at_risk": hit_tests(panel, folds, walked),
        "weekly_qlike": _weekly(walked),
    }


def _weekly(walked: Walked) -> dict[str, list[float]]:
    """Return each model's mean QLIKE of each whole week from the first origin, where the reference speaks too."""
    times = walked.grid.origin_time_ns
    weeks = (times[-1] + ORIGIN_STEP_NS[walked.horizon] - times[0]) // _WEEK_NS
    whole = times < times[0] + weeks * _WEEK_NS
    week = (times[whole] - times[0]) // _WEEK_NS
    reference = walked.forecasts.get(ANCHOR)
    shared = np.isfinite(walked.realised if reference is None else reference.mean)
    found = {}
    for name, made in walked.forecasts.items():
        loss = qlike(walked.realised[whole], made.mean[whole])
        known = np.isfinite(loss) & shared[whole]
        sums = np.bincount(week, np.where(known, loss, 0.0).sum(-1))
        with np.errstate(invalid="ignore"):
            found[name] = (sums / np.bincount(week, known.sum(-1).astype(np.float64))).tolist()
    return found


def _about(panel: Panel, folds: Folds, experts: Sequence[Expert]) -> dict[str, Any]:
    return {
        "panel_hash": panel.data_hash(),
        "rows": len(panel),
        "instruments": list(panel.instruments),
        "held_out": list(panel.held_out),
        "models": [expert.name for expert in experts],
        "combined_of": [name for name in MEMBERS if name in {expert.name for expert in experts}],
        "equal_weight_mean_of": [name for name in MEAN_OF if name in {expert.name for expert in experts}],
        "folds": [
            {"train_until": _date(fold.train_until_ns), "from": _date(fold.from_ns), "until": _date(fold.until_ns)}
            for fold in folds
        ],
    }


def _definitions() -> dict[str, Any]:
    return {
        "target": definitions.PROXY,
        "floor_ratio_of_trailing_week": definitions.FLOOR_RATIO,
        "target_known_ratio": definitions.KNOWN_RATIO,
        "origin_step_seconds": {name: step // 10**9 for name, step in definitions.ORIGIN_STEP_NS.items()},
        "first_origin": "of an instrument, when a week of it is known",
        "hac_lags_in_origins": definitions.HAC_LAGS,
        "embargo_hours": definitions.EMBARGO_NS / 3600e9,
        "half_life_days": definitions.HALF_LIFE_NS / 86400e9,
        "correction_days": definitions.CORRECTION_NS / 86400e9,
        "warm_up_days": definitions.WARM_UP_NS / 86400e9,
        "clip_ratio_in_fitting": definitions.CLIP_RATIO,
        "refits": "at the start of each month, targets purged by their horizon",
        "qlike": "RV/f - log(RV/f) - 1, nothing clipped",
        "correction": "smearing and residual quantiles half by the instrument, half by all; held out or new: by all",
        "garch": "fitted to each instrument's own returns, held out or not",
        "ratio": "mean QLIKE over that of the baseline on origins that both know; medians are over instruments",
        "tests": "Diebold-Mariano, two-sided at 5 %; worst week: the seven days with the most QLIKE of har-ref",
    }


def _regimes(buckets: Buckets) -> dict[str, Any] | None:
    chain = buckets.regimes
    return None if chain is None else {"means": chain.means, "deviations": chain.deviations, "moves": chain.transitions}


def _part(progress: Progress) -> Progress:
    return lambda text, ratio: progress(text, ratio * _FITTED_PART)


def _date(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M")


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it: what is not a number is null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 8) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
