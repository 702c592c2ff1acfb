"""The account of a backfill: what it read, what became of it, what was made."""

from collections import Counter
from collections.abc import Iterator

import msgspec

from streams.ingest.normaliser import Tally

_LEFT_OUT = "left-out:"
_REFUSED = {"late": "came too late", "future": "were too far ahead of their time"}


class Outcome(msgspec.Struct):
    """What a backfill read and made."""

    frames_in: int = 0
    """Raw frames fed, counted before anything is read of them; heartbeats are none."""
    frames: Counter[str] = msgspec.field(default_factory=Counter)
    """Raw frames by what became of them."""
    late: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """Events left out, by venue and reason."""
    events: int = 0
    tiles: int = 0
    row_messages: int = 0
    rows: int = 0

    def lines(self) -> Iterator[str]:
        """Yield the account in lines for people; what was not read is not told of."""
        if self.frames:
            yield from self._lines_of_frames()
        yield (
            f"{self.tiles:,} tiles and {self.rows:,} feature rows made; "
            f"the rows in {self.row_messages:,} messages, one for each partition and border"
        )

    def _lines_of_frames(self) -> Iterator[str]:
        yield f"{self.frames_in:,} raw frames read"
        yield f"  {self.frames['decoded']:,} were understood and gave {self.events:,} events"
        for (venue, reason), count in sorted(self.late.items()):
            yield f"  {count:,} more events of {venue} {_REFUSED[reason]} and are in no tile"
        left_out = {name.removeprefix(_LEFT_OUT): n for name, n in self.frames.items() if name.startswith(_LEFT_OUT)}
        if left_out:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(left_out.items()))
            yield f"  {sum(left_out.values()):,} are of kinds that nothing here uses: {kinds}"
        if self.frames["dead-letter"]:
            yield f"  {self.frames['dead-letter']:,} could not be understood: live they go to dead-letter.v1"
        if self.frames["heartbeat"]:
            yield f"{self.frames['heartbeat']:,} heartbeats beside them, which tell of the time where nothing came"

    def account(self, tally: Tally) -> None:
        """Add what became of frames."""
        self.frames_in += tally.frames - tally.heartbeats
        self.frames.update({"decoded": tally.decoded, "heartbeat": tally.heartbeats})
        self.frames.update({f"{_LEFT_OUT}{kind}": count for kind, count in tally.left_out.items()})
        self.frames.update({"dead-letter": tally.dead_letters.total()})
        self.late.update(tally.late)
        self.events += tally.events.total()
