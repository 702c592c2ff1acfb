"""What holds of a chain: transfers as they were told, less what was only told again or reorganised.

A feed tells a chain's blocks in rising order. It tells a transfer again in two cases, and the record's
stamp is another one in both, since it is another raw record (ingest's own repeats bear the same stamp,
and the table leaves them out by it):

* the feed was started again and sends its last blocks once more: the record says the same, of the same
  block at the same block time. That is a repeat: the first holds, and nothing else is touched;
* the chain was reorganised: the block is another one, with another number, another time or other
  transfers. What was told of it and of all later blocks holds no more, and is told anew.

Two blocks of one number have different times, as each fills a slot of its own. Where a record has no
block time it counts as a repeat until another record shows that the chain went back to its block.
"""

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_CHAIN = ("venue", "raw_partition")
_SAID = ("id", "block", "event_time_ns", "token", "amount", "from_address", "to_address")


def still_holds(flows: pa.Table) -> npt.NDArray[np.bool_]:
    """Say of each flow, in the order in which they became known, whether it holds at the end of them.

    A flow without a block (-1) always does.
    """
    chains: dict[Hashable, list[int]] = {}
    blocks = flows["block"].to_pylist()
    for at, place in enumerate(zip(*(flows[name].to_pylist() for name in _CHAIN), strict=True)):
        if blocks[at] >= 0:
            chains.setdefault(place, []).append(at)
    said = list(zip(*(flows[name].to_pylist() for name in _SAID), strict=True))
    holds = np.ones(len(flows), bool)
    for told in chains.values():
        chain = _Chain()
        for at in told:
            chain.tell(_Told(at, blocks[at], said[at][0], said[at]))
        holds[told] = False
        holds[chain.holding()] = True
    return holds


class _Told(NamedTuple):
    """One telling of a transfer: its index, its block, its id, and all that was said."""

    at: int
    block: int
    id: str
    said: Hashable


class _Chain:
    """The transfers of one chain that hold, in the order of their blocks."""

    def __init__(self) -> None:
        self._held: list[_Told] = []
        self._said: set[Hashable] = set()
        self._block_of: dict[str, int] = {}
        self._repeats: list[_Told] = []
        """Those since the last that was new: they hold where it turns out that the chain went back before them."""

    def holding(self) -> list[int]:
        """Return the indices of what holds."""
        return [told.at for told in self._held]

    def tell(self, told: _Told) -> None:
        """Take one transfer."""
        if told.said in self._said:
            self._repeats.append(told)
            return
        # A transfer is in one block alone: one that moved shows that its old block is gone.
        first_gone = min(told.block, self._block_of.get(told.id, told.block))
        if told.id in self._block_of or (self._held and told.block < self._held[-1].block):
            self._go_back(first_gone)
        self._repeats.clear()
        self._hold(told)

    def _go_back(self, first_gone: int) -> None:
        while self._held and self._held[-1].block >= first_gone:
            gone = self._held.pop()
            self._said.discard(gone.said)
            self._block_of.pop(gone.id, None)
        for repeat in self._repeats:
            if repeat.block >= first_gone and repeat.said not in self._said:
                self._hold(repeat)

    def _hold(self, told: _Told) -> None:
        self._held.append(told)
        self._said.add(told.said)
        self._block_of[told.id] = told.block
