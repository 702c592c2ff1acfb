"""What a run left on its topics, small enough to hold, and what the pure code says of the same raw log.

Both are plain values: the verifier runs on those of a broker, of a simulation, and of a test's double.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

Place = tuple[str, int]
"""A topic and a partition."""

Stream = tuple[str, int, str]
"""A canonical topic, a partition and a record type: what stamps rise in."""

Stamps = NDArray[np.int64]
"""Stamps of events, each in one number, see `pack`."""

_OFFSET_BITS = 36
_INDEX_BITS = 20


class RowMessage(NamedTuple):
    """One message of feature.row."""

    partition: int
    row_time_ns: int
    value: bytes


class ForecastRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What invariants ask of a forecast, or of a record of the latest ones."""

    id: str
    instrument_id: str
    origin_time_ns: int
    status: str


class Written(NamedTuple):
    """A forecast record and where it stands."""

    partition: int
    offset: int
    written_ms: int
    forecast: ForecastRecord


class Sample(NamedTuple):
    """Committed offsets, and right after them the ends of the topics that had to be written before.

    `commits`: (group, topic, partition) to offset.
    """

    commits: Mapping[tuple[str, str, int], int]
    ends: Mapping[Place, int]


class Covered(NamedTuple):
    """A checkpoint of a stage: where its manifest stands in the checkpoint topic, and where it resumes."""

    group: str
    place: Place
    offset: int
    resume: Mapping[str, int]


class Logs(msgspec.Struct, kw_only=True):
    """One run, each list in the order of offsets within its partition."""

    events: dict[Stream, Stamps] = {}
    event_offsets: dict[Stream, NDArray[np.int64]] = {}
    """The offset of the message that each stamp of `events` stands in."""
    rows: list[RowMessage] = []
    forecasts: list[Written] = []
    latest: list[Written] = []
    dead: list[tuple[str, int, int]] = []
    """Topic, partition and offset of the record that each dead letter is of."""
    late: list[tuple[str, int]] = []
    """Raw topic and stamp of each late event."""
    scheduled: set[tuple[str, int]] = set()
    """(instrument, row time) of each row."""
    samples: list[Sample] = []
    covered: list[Covered] = []
    has_earlier: bool = False
    """Release 0.1.0 took part, whose manifests do not tell where they resume."""


class Truth(msgspec.Struct, kw_only=True):
    """What the pure code makes of the raw log."""

    inputs: int
    """Raw records that are no heartbeats."""
    events: dict[Stream, Stamps]
    rows: dict[tuple[int, int], bytes]
    dead: set[tuple[str, int, int]]
    late: set[tuple[str, int]]


def pack(raw_partition: NDArray[np.int64], raw_offset: NDArray[np.int64], raw_index: NDArray[np.int64]) -> Stamps:
    """Return each stamp as one number that sorts as the stamps of one raw partition do.

    >>> pack(np.array([1]), np.array([2]), np.array([3])) == (1 << 56) + (2 << 20) + 3
    array([ True])
    """
    packed: Stamps = (raw_partition << (_OFFSET_BITS + _INDEX_BITS)) + (raw_offset << _INDEX_BITS) + raw_index
    return packed


def raw_partitions(stamps: Stamps) -> NDArray[np.int64]:
    """Return the raw partition of each stamp."""
    return stamps >> (_OFFSET_BITS + _INDEX_BITS)


def raw_offsets(stamps: Stamps) -> NDArray[np.int64]:
    """Return the raw offset of each stamp."""
    return (stamps >> _INDEX_BITS) & ((1 << _OFFSET_BITS) - 1)


def accepted(stamps: Stamps) -> NDArray[np.bool_]:
    """Return which events a reader takes: those above all stamps of their raw partition before them (DESIGN 4.5)."""
    taken = np.zeros(len(stamps), dtype=bool)
    sources = raw_partitions(stamps)
    for source in np.unique(sources):
        mine = np.flatnonzero(sources == source)
        highest = np.maximum.accumulate(stamps[mine])
        taken[mine] = np.concatenate([[True], stamps[mine][1:] > highest[:-1]])
    return taken


def stamp_text(stamp: int) -> str:
    """Return a stamp as people write it.

    >>> stamp_text((1 << 56) + (2 << 20) + 3)
    'raw partition 1, offset 2, index 3'
    """
    index = stamp & ((1 << _INDEX_BITS) - 1)
    offset = (stamp >> _INDEX_BITS) & ((1 << _OFFSET_BITS) - 1)
    return f"raw partition {stamp >> (_OFFSET_BITS + _INDEX_BITS)}, offset {offset}, index {index}"
