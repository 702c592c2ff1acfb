"""How often the band held what happened."""

from typing import Self

import msgspec

from schemas.calibration import Coverage

RECENT = 1000
"""Outcomes that count as the last ones."""
_MASK = (1 << RECENT) - 1


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """Outcomes counted, and the last of them one by one."""

    count: int = 0
    held: int = 0
    last: bytes = b""
    """The last `RECENT` as bits, the newest one lowest."""

    def add(self, held: bool) -> Self:
        """Return the tally with one more outcome.

        >>> Tally().add(True).add(False).record().ratio
        0.5
        """
        last = (int.from_bytes(self.last) << 1 | held) & _MASK
        size = -(-min(self.count + 1, RECENT) // 8)
        return type(self)(self.count + 1, self.held + held, last.to_bytes(size))

    def record(self) -> Coverage:
        """Return the shares."""
        if not self.count:
            return Coverage()
        recent = min(self.count, RECENT)
        return Coverage(
            count=self.count,
            ratio=self.held / self.count,
            recent_count=recent,
            recent_ratio=int.from_bytes(self.last).bit_count() / recent,
        )
