"""A picture of an explanation: what moved the forecast, step by step, and what each method says of it."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.explain.table import HEADS, ranked
from triton_models.explanation.explain import ATTENTION, SIGNED, Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito 2008: told apart by colour-blind readers too.
UP, DOWN, WHOLE, MASS = "#D55E00", "#0072B2", "#666666", "#009E73"
_MARKS = {"shapley": "o", "leave-one-out": "s", "integrated-gradients": "D", "lime": "^"}
_BAR = 0.62


def plot_explanation(explanation: Explanation, path: Path, title: str, volatility: tuple[float, float]) -> None:
    """Write the picture; `volatility`: annualised, of the reference and of the forecast."""
    from matplotlib.figure import Figure

    rows = len(explanation.modalities)
    panels = 3 if ATTENTION in explanation.shares else 2
    figure = Figure(figsize=(4.3 * panels, 1.9 + 0.46 * rows), layout="constrained")
    ratios = [1.5, 1.1, 0.7][:panels]
    first, second, *third = figure.subplots(1, panels, sharey=False, gridspec_kw={"width_ratios": ratios})
    _waterfall(first, explanation, volatility)
    _methods(second, explanation)
    for axis in third:
        _attention(axis, explanation)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=120)


def _waterfall(axis: "Axes", explanation: Explanation, volatility: tuple[float, float]) -> None:
    """Draw Shapley values as steps from the reference to the forecast."""
    shares = explanation.shares["shapley"]
    names = ranked(explanation)
    level = explanation.reference
    reached = [level]
    for place, name in enumerate(names, start=1):
        share = shares[name]
        axis.barh(place, share, left=level, height=_BAR, color=UP if share > 0 else DOWN)
        axis.plot([level, level], [place - 1, place], color=WHOLE, lw=0.8)
        level += share
        reached.append(level)
        axis.annotate(
            f"{share:+.3f}",
            (max(level, level - share), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    last = len(names) + 1
    axis.plot([level, level], [last - 1, last], color=WHOLE, lw=0.8)
    axis.plot([explanation.reference, explanation.value], [0, last], "o", color=WHOLE)
    for place, at, told in ((0, explanation.reference, volatility[0]), (last, explanation.value, volatility[1])):
        axis.annotate(
            f"{told:.1%} a year", (at, place), xytext=(7, 0), textcoords="offset points", va="center", fontsize=8
        )
    spread = max(reached) - min(reached) or 1.0
    axis.set_xlim(min(reached) - 0.12 * spread, max(reached) + 0.42 * spread)
    axis.set_yticks(range(last + 1), ["reference", *names, "forecast"])
    axis.invert_yaxis()
    axis.set_xlabel(f"log of the expected variance over {explanation.horizon}")
    _titled(axis, "What moved it: exact Shapley values")


def _methods(axis: "Axes", explanation: Explanation) -> None:
    """Draw what every signed method says of each modality."""
    names = ranked(explanation)
    for place in range(1, len(names), 2):
        axis.axhspan(place - 0.5, place + 0.5, color="0.95", lw=0)
    for step, method in enumerate(SIGNED):
        values = [explanation.shares[method][name] for name in names]
        places = [place + 0.16 * (step - 1.5) for place in range(len(names))]
        correlation = explanation.agreement[method]
        told = "" if method == "leave-one-out" or math.isnan(correlation) else f" ({correlation:+.2f})"
        axis.plot(values, places, _MARKS[method], ms=5, label=HEADS[method] + told)
    axis.axvline(0, color=WHOLE, lw=0.8)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.legend(fontsize=7, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    axis.set_xlabel("share (rank correlation with leave one out)")
    _titled(axis, "What each method says")


def _attention(axis: "Axes", explanation: Explanation) -> None:
    names = ranked(explanation)
    axis.barh(range(len(names)), [explanation.shares[ATTENTION][name] for name in names], height=_BAR, color=MASS)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(0, 1)
    correlation = explanation.agreement[ATTENTION]
    axis.set_xlabel("mass" if math.isnan(correlation) else f"mass (rank correlation {correlation:+.2f})")
    _titled(axis, "Where it looked")


def _titled(axis: Any, text: str) -> None:
    axis.set_title(text, fontsize=9, loc="left")
    axis.tick_params(labelsize=8)
    axis.xaxis.label.set_size(8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
