"""A picture of features on recorded data: the numbers over time, and how they are spread."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featurestore.specs import FeatureSpec
from schemas.rules import SECOND_NS
from streams.authoring.trial import Column

# Okabe and Ito 2008: told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MOST_PANELS = 12
_BINS = 60
_SCIENTIFIC = 1e-2


def plot_features(
    features: Sequence[FeatureSpec], columns: Mapping[str, Column], path: Path, *, source: str = ""
) -> None:
    """Write a picture of each feature's column by instrument; its format is that of `path`'s ending.

    Gaps in a line are rows whose value is masked.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = list(features)[:MOST_PANELS]
    size = 11, 1.0 + 2.1 * len(shown)
    ratios = {"width_ratios": [6, 1]}
    figure, axes = plt.subplots(
        len(shown), 2, figsize=size, layout="constrained", squeeze=False, sharex="col", sharey="row", gridspec_kw=ratios
    )
    for spec, (line, spread) in zip(shown, axes, strict=True):
        _panel(spec, columns[spec.name], line, spread)
        spread.set_xticks([])
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(f"Features on {source}, UTC" if source else "Features", fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def by_instrument(column: Column) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return row times (rows,) in ns, rising, and numbers (rows,) of each instrument."""
    found: dict[str, list[tuple[int, float]]] = {}
    for (instrument, time_ns), value in column.items():
        found.setdefault(instrument, []).append((time_ns, value))
    return {
        name: (np.array([time for time, _ in pairs]), np.array([value for _, value in pairs]))
        for name, pairs in ((name, sorted(found[name])) for name in sorted(found))
    }


def _panel(spec: FeatureSpec, column: Column, line: "Axes", spread: "Axes") -> None:  # type: ignore[name-defined]  # noqa: F821
    instruments = by_instrument(column)
    numbers = np.array([value for _, values in instruments.values() for value in values])
    known = numbers[np.isfinite(numbers)]
    for colour, (name, (times, values)) in zip(COLOURS, instruments.items(), strict=False):
        moments = [datetime.fromtimestamp(time / SECOND_NS, UTC) for time in times]
        line.plot(moments, values, color=colour, linewidth=0.9, label=name)
    share = len(known) / len(numbers) if len(numbers) else 0.0
    line.set_title(f"{spec.name}   {share:.0%} of {len(numbers):,} rows known", fontsize=9, loc="left")
    line.set_ylabel(spec.unit or "", fontsize=8)
    line.tick_params(labelsize=7)
    line.grid(visible=True, linewidth=0.3, alpha=0.6)
    if not len(known):
        line.text(0.5, 0.5, "never known on this data", transform=line.transAxes, ha="center", color="#777777")
    elif np.abs(known).max() < _SCIENTIFIC:
        line.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    weights = np.full(len(known), 1 / max(len(known), 1))
    spread.hist(known, bins=_BINS, weights=weights, orientation="horizontal", color=COLOURS[0], alpha=0.7)
    spread.tick_params(left=False, labelleft=False)
    for side in ("top", "right", "bottom"):
        spread.spines[side].set_visible(False)
