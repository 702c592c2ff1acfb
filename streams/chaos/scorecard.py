"""What a chaos run found: a table for people, JSON for machines, and the block in the README."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.table import Table

from schemas.errors import SettingsError
from streams.chaos.scenario import Figure, Outcome, scenarios

BEGIN, END = "<!-- scorecard -->", "<!-- end of scorecard -->"
_INVARIANTS = {"I1": "lost", "I2": "twice", "I3": "order", "I4": "commits", "I5": "gaps"}
_WIDTH = 110


class Report(msgspec.Struct, kw_only=True):
    """Outcomes of one run, and where it ran."""

    cores: int
    outcomes: list[Outcome]


def read(path: Path) -> Report:
    """Return the report in a file; raises SettingsError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsError(f"{path}: expected a report of `foreshock chaos run`: {error}") from None


def write(report: Report, path: Path) -> None:
    """Write a report."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def table(outcomes: Iterable[Outcome]) -> Table:
    """Return one line a scenario: seeds passed, findings by invariant, the worst of each figure with a limit."""
    shown = Table(title="chaos", title_justify="left")
    for name in ("", "fault", "passed"):
        shown.add_column(name, no_wrap=name != "fault")
    for name in _INVARIANTS.values():
        shown.add_column(name, justify="right")
    shown.add_column("worst")
    for name, mine in _grouped(outcomes).items():
        passed = sum(each.passed for each in mine)
        style = "green" if passed == len(mine) else "red"
        counts = [str(_findings(mine, invariant)) for invariant in _INVARIANTS]
        shown.add_row(name, _fault(name), f"[{style}]{passed} of {len(mine)}", *counts, "; ".join(worst(mine)))
    return shown


def problems(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a line for each thing that was wrong, with the command that repeats it."""
    lines = []
    for each in outcomes:
        if each.passed:
            continue
        again = f"foreshock chaos run --scenario {each.scenario} --seed {each.seed}{' --quick' if each.quick else ''}"
        lines.append(f"{each.scenario} seed {each.seed} failed; again: {again}")
        lines += [f"  {finding.invariant}: {finding.text}" for finding in each.findings]
        lines += [f"  {_figure(figure)}" for figure in each.figures if not figure.holds]
        lines += [f"  {line}" for line in each.error.splitlines()[:3]]
    return lines


def block(reports: Sequence[Report]) -> str:
    """Return the scorecard as the README shows it."""
    outcomes = _last(outcome for report in reports for outcome in report.outcomes)
    lines = [
        BEGIN,
        "",
        "| | fault | seeds passed | lost / twice / order / commits / gaps | worst |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, mine in _grouped(outcomes).items():
        passed = sum(each.passed for each in mine)
        quick = ", quick" if any(each.quick for each in mine) else ""
        counts = " / ".join(str(_findings(mine, invariant)) for invariant in _INVARIANTS)
        seeds = f"{passed} of {len(mine)}{quick}"
        lines.append(f"| {name} | {_fault(name)} | {seeds} | {counts} | {'; '.join(worst(mine))} |")
    missing = [name for name in scenarios() if name not in _grouped(outcomes)]
    cores = "/".join(str(count) for count in sorted({report.cores for report in reports}))
    told = f"Quick: outages of 10 s, smaller markets, fewer kills. On {cores} cores."
    lines += ["", f"{told} Not run for this card: {', '.join(missing) or 'none'}.", "", END]
    return "\n".join(lines)


def _last(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the outcomes, of a trial that was run again the last one: the code has changed meanwhile."""
    return list({(each.scenario, each.seed, each.quick): each for each in outcomes}.values())


def put_into(readme: Path, reports: Sequence[Report]) -> None:
    """Replace the block of `readme` by that of `reports`; raises SettingsError where it has none."""
    text = readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SettingsError(f"{readme}: has no block between {BEGIN} and {END}")
    readme.write_text(before + block(reports) + after)


def worst(outcomes: Iterable[Outcome]) -> list[str]:
    """Return the worst value of each figure that has a limit."""
    found: dict[str, Figure] = {}
    for figure in (figure for each in outcomes for figure in each.figures if figure.limit is not None):
        known = found.get(figure.name)
        if known is None or (figure.value < known.value) == figure.at_least:
            found[figure.name] = figure
    return [_figure(figure) for figure in found.values()]


def _figure(figure: Figure) -> str:
    limit = "" if figure.limit is None else f" ({'>=' if figure.at_least else '<='} {figure.limit:g})"
    return f"{figure.name} {figure.value:.3g}{f' {figure.unit}' if figure.unit else ''}{limit}"


def _grouped(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = defaultdict(list)
    for each in outcomes:
        found[each.scenario].append(each)
    order = {name: place for place, name in enumerate(scenarios())}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def _findings(outcomes: Iterable[Outcome], invariant: str) -> int:
    return sum(finding.invariant == invariant for each in outcomes for finding in each.findings)


def _fault(name: str) -> str:
    known = scenarios().get(name)
    return known.fault if known else "no longer a scenario"
