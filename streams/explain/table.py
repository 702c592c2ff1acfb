"""An explanation as a table on the screen and as JSON."""

import math
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from triton_models.explanation.explain import ATTENTION, SIGNED, Explanation

HEADS = {
    "shapley": "Shapley",
    "leave-one-out": "leave one out",
    "integrated-gradients": "integr. gradients",
    "lime": "LIME",
    ATTENTION: "attention",
}
_SHOWN = 0.0005


def table_of(explanation: Explanation, title: str) -> RenderableType:
    """Return shares by modality, the largest Shapley value first, and how faithful each method is."""
    table = Table(title=title, title_justify="left")
    table.add_column("modality")
    methods = [method for method in HEADS if method in explanation.shares]
    for method in methods:
        table.add_column(HEADS[method], justify="right")
    for modality in ranked(explanation):
        table.add_row(modality, *(_share(explanation, method, modality) for method in methods))
    table.add_section()
    for text, values in (("rank correlation", explanation.agreement), ("deletion gain", explanation.deletion)):
        table.add_row(text, *("-" if math.isnan(values[method]) else f"{values[method]:+.2f}" for method in methods))
    return Group(table, *lines_of(explanation))


def ranked(explanation: Explanation) -> list[str]:
    """Return the modalities, that of the largest Shapley value first, signs aside."""
    return sorted(explanation.modalities, key=lambda name: -abs(explanation.shares["shapley"][name]))


def lines_of(explanation: Explanation) -> list[str]:
    """Return what the numbers mean, and what each method misses."""
    moved = explanation.value - explanation.reference
    base = {name: share for name, share in explanation.base.items() if abs(share) >= _SHOWN}
    told = ", ".join(f"{name} {share:+.3f}" for name, share in base.items()) or "nothing"
    return [
        f"In all {moved:+.3f} in the log of the variance expected in {explanation.horizon}: x {math.exp(moved):.2f}.",
        f"Integrated gradients: the base's own part ({told}) by exact Shapley values; missed {explanation.gap:+.4f}.",
        f"LIME's R2 is {explanation.fidelity:.2f}.",
        "Rank correlation is with leave-one-out; deletion gain is over deletion in random order (0: no better).",
    ]


def document(explanation: Explanation, **about: Any) -> dict[str, Any]:
    """Return an explanation as JSON values; what is not known is null."""
    told = about | explanation._asdict()
    for name in ("fidelity", "deletion", "agreement"):
        told[name] = _known(told[name])
    return told


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _known(each) for name, each in value.items()}
    return value if math.isfinite(value) else None


def _share(explanation: Explanation, method: str, modality: str) -> str:
    share = explanation.shares[method][modality]
    if method not in SIGNED:
        return f"{share:.1%}"
    colour = "dim" if abs(share) < _SHOWN else "red" if share > 0 else "blue"
    return f"[{colour}]{share:+.3f}[/]"
