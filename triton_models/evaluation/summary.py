"""What all cells of a horizon say together, and the report's first lines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from triton_models.evaluation.cells import BASELINES
from triton_models.evaluation.comparison import sign_test

Cells = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Of a horizon: instrument, model, scores."""

LEVEL = 0.05
"""Size of the tests that count cells as better or worse."""
NETWORKS = ("lstm", "performer")
REFERENCE = "har-ref"
_PAIRS = (("combined", "combined-without-networks"), ("mean-with-networks", "mean"))
"""Models that differ by the networks alone."""


def summarise(cells: Cells, held_out: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return by model the medians over cells, and for each baseline ratio, tests and what bias has to do with it."""
    models = list(dict.fromkeys(model for scores in cells.values() for model in scores))
    return {model: _of_model(model, cells, held_out) for model in models}


def first_lines(horizon: str, summary: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what each model adds over REF, the networks first, even where it is nothing."""
    lines = [_network_line(summary)]
    for model, found in summary.items():
        if REFERENCE in found["against"] and model not in NETWORKS:
            lines.append(f"{model}: {_told(found['against'][REFERENCE])}")
    return [f"{horizon}: {line}" for line in lines]


def _network_line(summary: Mapping[str, Mapping[str, Any]]) -> str:
    present = [name for name in NETWORKS if name in summary]
    if not present:
        return "networks: none was evaluated, so they add nothing here"
    alone = "; ".join(f"{name} {_told(summary[name]['against'][REFERENCE])}" for name in present)
    with_them = "; ".join(
        f"{model} over {base}: {_told(summary[model]['against'][base])}"
        for model, base in _PAIRS
        if model in summary and base in summary[model]["against"]
    )
    return f"networks over {REFERENCE}: {alone}" + (f". {with_them}" if with_them else "")


def _told(against: Mapping[str, Any]) -> str:
    return (
        f"QLIKE ratio {against['median_ratio']:.3f} (bias apart {against['median_centred_ratio']:.3f}), "
        f"better in {against['better']}, worse in {against['worse']} of {against['cells']} cells"
    )


def _of_model(model: str, cells: Cells, held_out: Sequence[str]) -> dict[str, Any]:
    of_model = {name: scores[model] for name, scores in cells.items() if model in scores}
    found: dict[str, Any] = {
        f"median_{score}": _median([one[score] for one in of_model.values()])
        for score in ("qlike", "centred_qlike", "bias", "log_mse", "log_r2", "crps", "coverage_90", "width_90")
    }
    coverage = [one["coverage_90"] for one in of_model.values()]
    found["coverage_90_range"] = [min(coverage), max(coverage)]
    found["worst_rolling_coverage_90"] = float(min(one["worst_rolling_coverage_90"] for one in of_model.values()))
    found["crossings"] = sum(one["crossings"] for one in of_model.values())
    found["cells"] = len(of_model)
    found["in_confidence_set"] = sum((one["confidence_set_p"] or 0.0) >= LEVEL for one in of_model.values())
    found["against"] = {
        base: _against(base, of_model, held_out)
        for base in BASELINES
        if any(base in one["against"] for one in of_model.values())
    }
    return found


def _against(base: str, of_model: Mapping[str, Mapping[str, Any]], held_out: Sequence[str]) -> dict[str, Any]:
    tests = {name: one["against"][base] for name, one in of_model.items() if base in one["against"]}
    ratios = np.array([one["ratio"] for one in tests.values()])
    return {
        "cells": len(tests),
        "median_ratio": _median(ratios.tolist()),
        "median_ratio_held_out": _median([one["ratio"] for name, one in tests.items() if name in held_out]),
        "median_centred_ratio": _median([one["centred_ratio"] for one in tests.values()]),
        "median_ratio_without_worst_week": _median([one["ratio_without_worst_week"] for one in tests.values()]),
        "better": sum(one["dm_p"] < LEVEL and one["ratio"] < 1 for one in tests.values()),
        "worse": sum(one["dm_p"] < LEVEL and one["ratio"] > 1 for one in tests.values()),
        "sign_test_p": sign_test(np.log(ratios)),
    }


def _median(values: Sequence[float]) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.median(known)) if known else None
