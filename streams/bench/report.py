"""What a benchmark says: figures, where they were measured, and how they compare with reading alone."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_PACKAGES = ("confluent-kafka", "faust-streaming", "msgspec", "numpy", "pyarrow")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where and beside what a figure was measured. `load`: average of the last minute."""

    processor: str
    cores: int
    load_before: float
    load_after: float = 0.0
    versions: dict[str, str]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured number.

    `cpu_seconds_per_million`: of all processes of the run together, the broker too, per million
    events; `floor_ratio`: the rate over that of a reader that only decodes the same topic, in the
    same minute. None where it has no meaning.
    """

    what: str
    value: float
    unit: str
    wanted: str = ""
    cpu_seconds_per_million: float | None = None
    floor_ratio: float | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """All that one benchmark found. `shares`: CPU seconds per million events of each process or step."""

    bench: str
    machine: Machine
    run: dict[str, str]
    figures: list[Figure]
    shares: dict[str, float] = {}


def machine() -> Machine:
    """Return this machine as it is now."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        load_before=round(os.getloadavg()[0], 2),
        versions={"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
    )


def after(before: Machine) -> Machine:
    """Return `before` with the load as it is now."""
    return msgspec.structs.replace(before, load_after=round(os.getloadavg()[0], 2))


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def to_json(outcome: Outcome) -> bytes:
    """Return an outcome as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(outcome), indent=1) + b"\n"


def screen(outcome: Outcome) -> RenderableType:
    """Return an outcome as a table, with the machine below it."""
    table = Table("figure", "measured", "wanted", "CPU s per million", "of decode-only", title=f"bench {outcome.bench}")
    for figure in outcome.figures:
        table.add_row(
            figure.what,
            f"{_number(figure.value)} {figure.unit}",
            figure.wanted,
            "" if figure.cpu_seconds_per_million is None else f"{figure.cpu_seconds_per_million:.2f}",
            "" if figure.floor_ratio is None else f"{figure.floor_ratio:.2f}",
        )
    place = outcome.machine
    versions = ", ".join(f"{name} {number}" for name, number in place.versions.items())
    lines = [
        ", ".join(f"{name} {value}" for name, value in outcome.run.items()),
        f"{place.cores} cores, {place.processor}; load average {place.load_before} before, {place.load_after} after",
        versions,
    ]
    if outcome.shares:
        parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in outcome.shares.items())
        lines.insert(0, f"CPU seconds per million events: {parts}")
    return Group(table, *(Text(line, style="dim") for line in lines))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"  # noqa: PLR2004 - for the eye
