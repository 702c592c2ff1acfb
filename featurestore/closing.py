"""Blocks of tiles, rows and market parts of one partition, once its first tile can close."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featurestore.announced import FeatureSets
from featurestore.checkpoint import ClosedState, pack_series, pack_space, unpack_series, unpack_space
from featurestore.layout import HOMES, Starts
from featurestore.parts import Market, part_of
from featurestore.pending import Pending
from featurestore.rowmaking import RowMaker
from featurestore.specs import Array
from featurestore.tiler import Tiler
from featurestore.tiles import SPAN_TILES
from schemas import Rules, StateError
from schemas.forecasts import cloud_event_headers, encode_json
from schemas.rows import Rows, encode_row_messages, row_headers
from schemas.topics import FEATURE_ROW, MARKET_STATE

_LAST_NS = 1 << 62


@dataclass(frozen=True)
class Output:
    """One message to write."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class Closing:
    """What there is once tiles close: rings, market series, rows.

    Two borders are kept: tiles before `head` are closed, rows up to `row_border_ns` are written.
    """

    def __init__(
        self,
        partition: int,
        rules: Rules,
        sets: FeatureSets,
        start: int,
        first_row_ns: int,
        starts: Starts | None = None,
    ) -> None:
        self._partition = partition
        self._rules = rules
        self._sets = sets
        self._tile_ns = rules.tile_interval_ns
        self._row_tiles = rules.row_interval_ns // rules.tile_interval_ns
        self._first_row_ns = first_row_ns
        self.row_border_ns = first_row_ns - rules.row_interval_ns
        layout = sets.layout(starts)
        if starts is None:
            # A log may begin after the border of a set: what came before it is no reason to wait.
            while sets.next is not None and sets.next.border_ns <= start * self._tile_ns:
                layout = sets.follow(layout.starts)
        self.tiler = Tiler(rules, layout, start)
        # Before the first row every part is none, and not waited for.
        self.market = Market(
            rules.partitions, self._tile_ns, layout.factors, self._row_tiles, self.row_border_ns // self._tile_ns
        )
        self.market.plan(layout.market)
        self._rows = RowMaker(partition, rules, layout, self.tiler, self.market)

    @property
    def head(self) -> int:
        """Return the first open tile."""
        return self.tiler.head

    def borders_up_to(self, tile: int) -> int:
        """Return the number of row borders up to the start of `tile` without their row."""
        return max(0, (tile * self._tile_ns - self.row_border_ns) // self._rules.row_interval_ns)

    @property
    def _writable(self) -> int:
        """Return the number of closed row borders that belong to the feature set in force."""
        step = self._rules.row_interval_ns
        closed_ns = self.head * self._tile_ns
        if self._sets.next is not None:
            closed_ns = min(closed_ns, self._sets.next.border_ns - step)
        return (closed_ns - self.row_border_ns) // step

    def write_rows(self) -> list[Output]:
        """Return the rows of all closed borders up to which the market is known."""
        count = self._writable
        if count <= 0:
            return []
        self.market.merge(self.head)
        first = self.row_border_ns // self._tile_ns + self._row_tiles - 1
        tiles = first + self._row_tiles * np.arange(count)
        listed = self._rows.listed(tiles)
        if self.tiler.layout.market:
            # The row at t sees parts up to the border before it; one that lists nothing waits for none.
            unknown = tiles - self._row_tiles >= self.market.book.merged
            waiting = np.flatnonzero(unknown & listed.any(axis=0))
            if len(waiting):
                tiles, listed = tiles[: waiting[0]], listed[:, : waiting[0]]
        if len(tiles):
            self.row_border_ns = (int(tiles[-1]) + 1) * self._tile_ns
        messages = list(self._rows.make(tiles, listed))
        values = encode_row_messages(messages) if messages else []
        return [self._row_output(rows, value) for rows, value in zip(messages, values, strict=True)]

    def _row_output(self, rows: Rows, value: bytes) -> Output:
        return Output(FEATURE_ROW, self._partition, None, value, row_headers(rows.header))

    def close(self, target: int, pending: Pending, outputs: list[Output]) -> bool:
        """Close a block of tiles before `target`; return whether there was anything to do."""
        head = self.head
        following = self._sets.next
        if following is not None:
            border = following.border_ns // self._tile_ns
            written = self.row_border_ns + self._rules.row_interval_ns >= following.border_ns
            if head == border and written:
                self._follow()
                return True
            target = min(target, max(border, head))
        if self._is_quiet():
            first_ns = pending.first_ns()
            awake = target if first_ns is None else min(target, first_ns // self._tile_ns)
            if awake - head > SPAN_TILES:
                self._skip(awake, outputs)
                return True
        # Rows may wait for the market: what they look at must stay in the rings.
        oldest = min(head, self.row_border_ns // self._tile_ns)
        stop = min(target, oldest + SPAN_TILES)
        if stop <= head:
            return False
        values = self.tiler.close(stop, pending.take(stop * self._tile_ns))
        self._tell(head, stop, values, outputs)
        return True

    def _follow(self) -> None:
        """Go on with the announced feature set: tiles end at its border, rows are written up to it."""
        layout = self._sets.follow(self.tiler.layout.starts)
        self.tiler.follow(layout)
        self.market.plan(layout.market)
        self._rows = RowMaker(self._partition, self._rules, layout, self.tiler, self.market)

    def _is_quiet(self) -> bool:
        """Return whether tiles repeat themselves and no row lists anything until the next event."""
        head, layout = self.head, self.tiler.layout
        if layout.reads_time or self.tiler.last_event_tile + layout.settle_tiles >= head:
            return False
        step = self._rules.row_interval_ns
        next_row_ns = head * self._tile_ns // step * step + step
        if self.row_border_ns + step < next_row_ns:
            return False
        space = self.tiler.spaces["instrument"]
        return not (space.last_time(head - 1) >= next_row_ns - self._rules.listing_ns).any()

    def _skip(self, stop: int, outputs: list[Output]) -> None:
        head, step = self.head, self._rules.row_interval_ns
        self.tiler.repeat(stop - head)
        self.row_border_ns = max(self.row_border_ns, stop * self._tile_ns // step * step)
        self._tell(head, stop, {}, outputs)

    def _tell(self, start: int, stop: int, values: Mapping[str, Array], outputs: list[Output]) -> None:
        """Write this partition's part of the market for tiles [start, stop) to every partition."""
        first = max(start, self._first_row_ns // self._tile_ns - self._row_tiles)
        if stop <= first:
            return
        part = part_of(self._partition, (first, stop), self._tile_ns, values, self._counted(start, stop, values), start)
        message = encode_json(part)
        headers = [("record", b"part"), ("rules_id", self._rules.rules_id.encode())]
        headers += cloud_event_headers("part", f"{part.partition}@{part.to_ns}", part.to_ns, str(part.partition))
        outputs += [
            Output(MARKET_STATE, partition, None, message, list(headers)) for partition in range(self._rules.partitions)
        ]

    def _counted(self, start: int, stop: int, values: Mapping[str, Array]) -> NDArray[np.bool_]:
        """Return which instruments count at the ends of tiles [start, stop): those that are listed."""
        if not values:
            return np.zeros((0, 0), dtype=np.bool_)
        borders = (np.arange(start, stop) + 1) * self._tile_ns
        times = self.tiler.spaces["instrument"].last_times(start, stop)
        return np.asarray((times >= borders - self._rules.listing_ns) & (borders >= self._first_row_ns))

    def state(self) -> ClosedState:
        """Return all of it, as plain data."""
        waiting = self.borders_up_to(self.head) * self._row_tiles
        return ClosedState(
            self.head,
            self.row_border_ns,
            self._first_row_ns,
            self.tiler.last_event_tile,
            self.tiler.layout.starts,
            {home: pack_space(space, waiting) for home, space in self.tiler.spaces.items()},
            self.market.book,
            {name: pack_series(series, waiting) for name, series in self.market.series.items()},
        )

    @classmethod
    def restored(cls, state: ClosedState, partition: int, rules: Rules, sets: FeatureSets) -> "Closing":
        """Return what `state` says; raises StateError where it cannot be."""
        _check_borders(state, rules)
        closing = cls(partition, rules, sets, state.closed, state.first_row_ns, state.starts)
        closing.row_border_ns = state.row_border_ns
        closing.tiler.last_event_tile = state.last_event_tile
        market = closing.market
        if set(state.spaces) != set(HOMES) or set(state.market) != set(market.series):
            raise StateError("the checkpoint holds other series than its feature set needs: delete it and rebuild")
        if len(state.book.known) != rules.partitions or len(state.book.waiting) != rules.partitions:
            raise StateError(f"expected market parts of {rules.partitions} partitions: delete the checkpoint")
        market.restart(state.book, closing.tiler.layout.market)
        for name, series in market.series.items():
            unpack_series(state.market[name], series, 1, "f")
        for home, space in closing.tiler.spaces.items():
            unpack_space(state.spaces[home], space)
        closing.tiler.join()
        return closing


def _check_borders(state: ClosedState, rules: Rules) -> None:
    """Raise StateError for borders that no engine comes to: rows would never end, or read what is not kept."""
    tile_ns, step = rules.tile_interval_ns, rules.row_interval_ns
    begun_ns = state.first_row_ns - step
    closed_ns = state.closed * tile_ns
    last_ns = max(closed_ns, begun_ns)
    if (
        state.row_border_ns % step
        or state.first_row_ns % step
        or not 0 <= begun_ns <= state.row_border_ns <= last_ns <= _LAST_NS
        or closed_ns - state.row_border_ns > SPAN_TILES * tile_ns
        or not 0 <= state.book.merged * tile_ns <= last_ns
    ):
        raise StateError("the checkpoint holds borders that do not fit each other: delete it and rebuild")
