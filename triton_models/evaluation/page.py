"""The report as one HTML file that needs nothing beside it."""

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from triton_models.evaluation import plots
from triton_models.evaluation.summary import REFERENCE

Report = Mapping[str, Any]

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1250px; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: .6em 0 1.6em; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: .2em .6em; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
th { background: #f4f4f4 } tr:hover td { background: #fafae8 }
img { max-width: 100% } pre { background: #f7f7f7; padding: 1em; overflow-x: auto; font-size: 12px }
.wide { overflow-x: auto } li { margin: .15em 0 }
"""
_PLOTS = (plots.ratios, plots.weekly, plots.reliability, plots.coverage, plots.pit_histograms)
_BASES = ("har-plain", "har-seas", REFERENCE, "garch")


def write_page(report: Report, path: Path) -> None:
    """Write the page of a report."""
    about = report["about"]
    parts = [
        f"<h1>Forecasts of {escape(', '.join(about['instruments']))}</h1>",
        f"<p>From {about['from']} to {about['to']}, first trained until {about['train_until']}.</p>",
        f"<p>Held out of training: {escape(', '.join(about['held_out']) or 'none')}.</p>",
        "<h2>First lines</h2>",
        "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in report["first_lines"]) + "</ul>",
        *(_image(plot.__name__, plot(report)) for plot in _PLOTS),
        *(_horizon(name, found) for name, found in report["horizons"].items()),
        "<h2>Definitions</h2>",
        f"<pre>{escape(json.dumps(report['definitions'], indent=1))}</pre>",
        "<h2>About</h2>",
        f"<pre>{escape(json.dumps(about, indent=1))}</pre>",
    ]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Foreshock</title><style>{_STYLE}</style>'
    path.write_text(head + "\n".join(parts) + "</html>\n")


def _horizon(name: str, found: Mapping[str, Any]) -> str:
    return f"<h2>{name} ahead</h2>" + _summary(found["summary"]) + _cells(found["cells"])


def _summary(summary: Mapping[str, Any]) -> str:
    header = ["median over cells", "QLIKE", "bias", "R2 log", "CRPS", "cover 90 %", "worst span", "in set"]
    header += [text for base in _BASES for text in (f"/ {base}", "bias apart", "+ / -")]
    rows = []
    for model, one in summary.items():
        row = [model, *(_number(one[f"median_{key}"]) for key in ("qlike", "bias", "log_r2", "crps", "coverage_90"))]
        row += [_number(one["worst_rolling_coverage_90"]), f"{one['in_confidence_set']}/{one['cells']}"]
        for base in _BASES:
            against = one["against"].get(base)
            row += ["", "", ""] if against is None else _ratio_cells(against)
        rows.append(row)
    return _table(header, rows)


def _ratio_cells(against: Mapping[str, Any]) -> list[str]:
    ratio, centred = _number(against["median_ratio"]), _number(against["median_centred_ratio"])
    return [ratio, centred, f"{against['better']} / {against['worse']}"]


def _cells(cells: Mapping[str, Any]) -> str:
    header = ["cell", "origins", "QLIKE", "without worst week", "bias", "cover 90 %", "calm", "wild", "worst span"]
    header += [f"/ {REFERENCE}", "bias apart", "DM p"]
    rows = []
    for instrument, scores in cells.items():
        for model, one in scores.items():
            against = one["against"].get(REFERENCE, {})
            regime = one.get("coverage_90_by_regime", {})
            values = [one["qlike"], one.get("qlike_without_worst_week"), one["bias"], one["coverage_90"]]
            values += [regime.get("calm"), regime.get("wild"), one["worst_rolling_coverage_90"]]
            values += [against.get("ratio"), against.get("centred_ratio"), against.get("dm_p")]
            rows.append([f"{instrument} {model}", f"{one['count']:.0f}", *map(_number, values)])
    return "<details><summary>Every cell</summary>" + _table(header, rows) + "</details>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _image(name: str, png: bytes) -> str:
    return f'<p><img alt="{name}" src="data:image/png;base64,{base64.b64encode(png).decode()}"></p>'


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
