"""Plots of a report, as PNG."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemas.tensors import QUANTILES
from triton_models.evaluation.summary import NETWORKS, REFERENCE

Report = Mapping[str, Any]

_SHOWN = ("har-seas", "lightgbm", "mean", *NETWORKS, "combined-without-networks", "combined")
"""Models drawn as lines; more than a handful cannot be told apart."""
_WIDTH = 11.0
_RATIO_LIMITS = (0.85, 1.5)


def ratios(report: Report) -> bytes:
    """Return the QLIKE ratio to REF of each model, a dot a cell, the median as a bar, a panel a horizon."""
    figure, axes = _panels(report, height=4.2)
    for axis, (horizon, found) in zip(axes, report["horizons"].items(), strict=True):
        models = sorted(
            (name for name, one in found["summary"].items() if REFERENCE in one["against"]),
            key=lambda name: found["summary"][name]["against"][REFERENCE]["median_ratio"] or np.inf,
            reverse=True,
        )
        for place, model in enumerate(models):
            cells = [cell[model] for cell in found["cells"].values() if model in cell]
            values = np.array([one["against"][REFERENCE]["ratio"] or np.nan for one in cells if one["against"]])
            axis.plot(np.clip(values, *_RATIO_LIMITS), np.full(len(values), place), "o", color="tab:blue", alpha=0.5)
            axis.plot(np.clip([np.nanmedian(values)] * 2, *_RATIO_LIMITS), [place - 0.35, place + 0.35], "k", lw=2)
        axis.axvline(1, color="grey", lw=1)
        axis.set_yticks(range(len(models)), models)
        axis.set_xlim(_RATIO_LIMITS[0] - 0.01, _RATIO_LIMITS[1] + 0.01)
        axis.set_title(f"{horizon}: QLIKE over {REFERENCE}'s, {_RATIO_LIMITS[1]}: or more")
    return _png(figure)


def weekly(report: Report) -> bytes:
    """Return the cumulative difference in QLIKE to REF by week, a line a model, a panel a horizon."""
    figure, axes = _panels(report, height=3.4)
    for axis, (horizon, found) in zip(axes, report["horizons"].items(), strict=True):
        losses = {name: _floats(values) for name, values in found["weekly_qlike"].items()}
        for model in _SHOWN:
            if model in losses and REFERENCE in losses:
                total = np.cumsum(np.nan_to_num(losses[model] - losses[REFERENCE]))
                axis.plot(np.arange(1, len(total) + 1), total, label=model)
        axis.axhline(0, color="grey", lw=1)
        axis.set_title(f"{horizon}: sum of weekly QLIKE less {REFERENCE}'s")
        axis.set_xlabel("weeks from the first origin")
    _legend(axes)
    return _png(figure)


def reliability(report: Report) -> bytes:
    """Return how often outcomes lie below each quantile, less its level, mean and range over cells."""
    figure, axes = _panels(report, height=3.4)
    for axis, (horizon, found) in zip(axes, report["horizons"].items(), strict=True):
        for model in (REFERENCE, *_SHOWN):
            cells = [cell[model]["hits_by_level"] for cell in found["cells"].values() if model in cell]
            if cells:
                table = np.array([_floats(list(cell.values())) for cell in cells]) - np.array(QUANTILES)
                (line,) = axis.plot(QUANTILES, np.nanmean(table, axis=0), "o-", ms=3, label=model)
                if model == REFERENCE:
                    low, high = np.nanmin(table, axis=0), np.nanmax(table, axis=0)
                    axis.fill_between(QUANTILES, low, high, color=line.get_color(), alpha=0.15)
        axis.axhline(0, color="grey", lw=1)
        axis.set_title(f"{horizon}: share below a quantile less its level")
        axis.set_xlabel("level")
    _legend(axes)
    return _png(figure)


def pit_histograms(report: Report) -> bytes:
    """Return the PIT histograms of the best calibrated model there is, mean over cells, a panel a horizon."""
    figure, axes = _panels(report, height=2.8)
    for axis, (horizon, found) in zip(axes, report["horizons"].items(), strict=True):
        model = next((name for name in ("combined", "mean", REFERENCE) if name in found["summary"]), None)
        cells = [cell[model]["pit_histogram"] for cell in found["cells"].values() if model in cell]
        if cells:
            shares = np.mean(cells, axis=0)
            axis.bar((np.arange(len(shares)) + 0.5) / len(shares), shares * len(shares), 1 / len(shares), ec="white")
        axis.axhline(1, color="grey", lw=1)
        axis.set_title(f"{horizon}: PIT of {model}")
    return _png(figure)


def coverage(report: Report) -> bytes:
    """Return the coverage of the 90 % band by model: each cell, the worst span, and calm and wild apart."""
    figure, axes = _panels(report, height=4.2)
    for axis, (horizon, found) in zip(axes, report["horizons"].items(), strict=True):
        models = list(found["summary"])
        for place, model in enumerate(models):
            cells = [cell[model] for cell in found["cells"].values() if model in cell]
            _dots(axis, place, _floats([one["coverage_90"] for one in cells]), "o", "tab:blue", "a cell")
            _dots(
                axis, place, _floats([one["worst_rolling_coverage_90"] for one in cells]), "x", "tab:red", "its worst"
            )
            for regime, colour in (("calm", "tab:green"), ("wild", "tab:orange")):
                values = [one.get("coverage_90_by_regime", {}).get(regime) for one in cells]
                _dots(axis, place, _floats(values), "|", colour, regime)
        axis.axvline(0.9, color="grey", lw=1)
        axis.set_yticks(range(len(models)), models)
        axis.set_title(f"{horizon}: coverage of the 90 % band")
    _legend(axes)
    return _png(figure)


def _panels(report: Report, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(_WIDTH * len(report["horizons"]) / 2, height), layout="constrained")
    return figure, [figure.add_subplot(1, len(report["horizons"]), one + 1) for one in range(len(report["horizons"]))]


def _dots(axis: Axes, place: int, values: Any, marker: str, colour: str, label: str) -> None:
    axis.plot(values, np.full(len(values), place), marker, color=colour, alpha=0.6, label=label if not place else None)


def _legend(axes: list[Axes]) -> None:
    handles, labels = axes[-1].get_legend_handles_labels()
    if handles:
        axes[-1].legend(handles, labels, fontsize="small")


def _floats(values: Any) -> Any:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90, metadata={"Software": None})
    return file.getvalue()
