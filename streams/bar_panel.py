"""A panel from a folder of bar files: what options ask for is checked first, then the rows are made."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from schemas import SettingsError
from schemas.rules import DAY_NS
from streams import bar_rows
from streams.bar_rows import Progress, Span
from streams.sources.captures import Captures
from triton_models.evaluation.definitions import FEATURES, LEAST_TRAINING_NS
from triton_models.evaluation.folds import Folds
from triton_models.evaluation.panel import Panel, panel_of


class Asked(NamedTuple):
    """Bar files, and the instruments that are wanted of them up to a time."""

    bars: Captures
    until_ns: int
    spans: dict[str, Span]
    """Of the instruments that are wanted."""
    held_out: tuple[str, ...]

    def require(self, folds: Folds, first: str = "--train-until", last: str = "--to") -> None:
        """Raise SettingsError for folds that the bars do not reach; `first` and `last` name what asked for them."""
        fold = next(iter(folds))
        trained = [span for name, span in self.spans.items() if name not in self.held_out]
        if not trained:
            raise SettingsError("--held-out: expected an instrument that is left to train on, got all of them")
        start_ns, end_ns = min(span.first_ns for span in trained), max(span.last_ns for span in self.spans.values())
        if start_ns + LEAST_TRAINING_NS > fold.train_until_ns:
            raise SettingsError(
                f"{first}: expected {LEAST_TRAINING_NS // DAY_NS} days of bars before {_day(fold.train_until_ns)}, "
                f"the first is of {_day(start_ns)}"
            )
        if end_ns < folds.until_ns - DAY_NS:
            raise SettingsError(f"{last}: expected a day with bars, the last is of {_day(end_ns)}")
        if not any(span.first_ns < folds.until_ns and span.last_ns >= folds.from_ns for span in self.spans.values()):
            raise SettingsError("--from: no instrument has bars between it and --to")

    def panel(self, cache: Path, progress: Progress) -> Panel:
        """Return the panel of the instruments, its rows from `cache` where they are there."""
        table = bar_rows.rows_of(self.bars, FEATURES, self.until_ns + DAY_NS, cache, progress)
        return panel_of(table, instruments=tuple(self.spans), held_out=self.held_out)


def ask(data: Path, until_ns: int, instruments: Sequence[str] = (), held_out: Sequence[str] = ()) -> Asked:
    """Return what a folder has of the instruments that options name (all, where none is), before a time.

    Raises:
        SettingsError: where there are no bars, or none of an instrument.
        DecodeError: where a file is no whole bar file.
    """
    bars = bar_rows.find_bars(data)
    spans = {name: span for name, span in bar_rows.spans_of(bars).items() if span.first_ns < until_ns}
    if not spans:
        raise SettingsError(f"--data {data}: no file has a bar before the end of {_day(until_ns - 1)}")
    left_out = _named("--held-out", held_out, spans)
    chosen = [*_named("--instruments", instruments, spans), *left_out] if instruments else list(spans)
    return Asked(bars, until_ns, {name: spans[name] for name in chosen}, tuple(left_out))


def _named(option: str, wanted: Sequence[str], known: Collection[str]) -> list[str]:
    """Return the instruments that are wanted: by id, or all of an asset ("BTC")."""
    found: list[str] = []
    for name in wanted:
        matches = sorted(one for one in known if name in {one, one.partition(":")[2].partition("-")[0]})
        if not matches:
            raise SettingsError(f"{option}: no bars of {name!r} before the end; there are {', '.join(sorted(known))}")
        found += [one for one in matches if one not in found]
    return found


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%d")
