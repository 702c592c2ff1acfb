"""Events of one canonical partition to tiles to feature rows: DESIGN section 4, pure.

The engine knows no broker and no clock. It is given canonical messages and market parts in log
order, and returns row messages and its own market parts; what it returns depends on the sets of
events alone, never on how their reading was interleaved, cut into calls or interrupted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featurestore.catalogue import Catalogue
from schemas import Rules
from schemas.forecasts import Announcement


@dataclass(frozen=True)
class Output:
    """One message to write."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True)
class Checkpoint:
    """State of an engine, and the offsets from which its input topics go on.

    A topic that is missing in `resume` goes on from its beginning.
    """

    resume: dict[str, int]
    blob: bytes


class PartitionEngine:
    """Tiles, features and rows of one canonical partition."""

    def __init__(
        self,
        partition: int,
        rules: Rules,
        catalogue: Catalogue,
        announcements: Sequence[Announcement] = (),
    ) -> None:
        raise NotImplementedError

    @classmethod
    def restore(
        cls,
        blob: bytes,
        partition: int,
        rules: Rules,
        catalogue: Catalogue,
        announcements: Sequence[Announcement] = (),
    ) -> "PartitionEngine":
        """Return the engine of a checkpoint; raises StateError where it does not fit."""
        raise NotImplementedError

    @property
    def resume(self) -> dict[str, int]:
        """Return the offset of each input topic to read from next after a restart."""
        raise NotImplementedError

    @property
    def backlog(self) -> int:
        """Return the number of closed row borders without their row: above a bound, stop reading events."""
        raise NotImplementedError

    def announce(self, announcement: Announcement) -> None:
        """Take a new feature set from its border on; raises StateError where that has passed."""
        raise NotImplementedError

    def apply(self, topic: str, offset: int, headers: Mapping[str, bytes], value: bytes | None) -> None:
        """Take in one message of this partition; raises DecodeError for bytes that are none."""
        raise NotImplementedError

    def advance(self, limit: int | None = None) -> list[Output]:
        """Close what can be closed and return market parts and rows, in order.

        `limit`: return once at least so many outputs are there; call again for the rest.
        """
        raise NotImplementedError

    def checkpoint(self) -> Checkpoint:
        """Return the state as it is, with all outputs so far counted as written."""
        raise NotImplementedError
