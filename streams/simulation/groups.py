"""Consumer groups: members that join, leave, fall silent; each rebalance takes all partitions from all (eager)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from streams.simulation.broker import Place
from streams.simulation.clock import Network, Process

Unit = TypeVar("Unit")
"""What is shared out: a partition of a stage, or a raw topic and partition."""


class Member(Generic[Unit]):
    """One process in a group, as far as it knows itself."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.generation = -1
        self.owned: list[Unit] = []
        """What it holds, or believes to hold."""
        self.given: list[Unit] | None = None
        """A new assignment that it has not taken up yet."""
        self.must_rejoin = False
        self.lost = False
        """The group goes on without it, and it knows."""
        self.changed = asyncio.Event()

    def tell(self) -> None:
        """Wake whoever waits for news."""
        self.changed.set()

    def take(self) -> list[Unit] | None:
        """Take up the new assignment, None where there is none."""
        given, self.given = self.given, None
        if given is not None:
            self.owned = given
        return given


class Group(Generic[Unit]):
    """One consumer group. `share`: draws who gets what."""

    def __init__(
        self,
        name: str,
        units: Sequence[Unit],
        network: Network,
        now: Callable[[], float],
        share: Callable[[Sequence[Unit], int], list[list[Unit]]],
        session_seconds: float,
    ) -> None:
        self.name = name
        self.committed: dict[Place, int] = {}
        self.members: list[Member[Unit]] = []
        self.on_commit: Callable[[str, Mapping[Place, int]], None] = lambda *_: None
        self._units = units
        self._network = network
        self._now = now
        self._share = share
        self._session = session_seconds
        self._generation = 0
        self._joined: list[Member[Unit]] = []
        self._preparing = False

    def join(self, member: Member[Unit]) -> None:
        """Come in, or come back with empty hands after `must_rejoin` or `lost`."""
        member.must_rejoin = member.lost = False
        member.owned, member.given = [], None
        if member not in self.members:
            self.members.append(member)
        if member not in self._joined:
            self._joined.append(member)
        self._prepare()
        self._complete_if_all()

    def leave(self, member: Member[Unit]) -> None:
        """Go, or be taken for dead."""
        if member in self.members:
            self.members.remove(member)
            if member in self._joined:
                self._joined.remove(member)
            self._prepare()
            self._complete_if_all()

    def watch(self, process: Process) -> None:
        """Count a silent process as dead after the session timeout, unless it is back by then."""
        for member in self.members:
            if member.process is process:
                self._network.at(self._now() + self._session, lambda silent=member: self._expire(silent))  # type: ignore[misc]

    def _expire(self, member: Member[Unit]) -> None:
        if not member.process.alive or member.process.frozen:
            self.evict(member, notice_seconds=0.0)

    def evict(self, member: Member[Unit], notice_seconds: float) -> None:
        """Go on without a member, who learns of it only later: until then it is a zombie."""
        if member not in self.members:
            return
        self.leave(member)

        def told() -> None:
            member.lost = True
            member.tell()

        self._network.at(self._now() + notice_seconds, told)

    def commit(self, member: Member[Unit], offsets: Mapping[Place, int]) -> bool:
        """Commit offsets; refused where the member is of an older generation."""
        if member not in self.members or member.generation != self._generation or self._preparing:
            return False
        self.committed.update(offsets)
        self.on_commit(self.name, offsets)
        return True

    def rebalance(self) -> None:
        """Share everything out anew."""
        self._prepare()
        self._complete_if_all()

    def _prepare(self) -> None:
        if self._preparing:
            return
        self._preparing = True
        for member in self.members:
            if member not in self._joined:
                member.must_rejoin = True
                member.given = None
                member.tell()
        generation = self._generation
        # Who does not come back in time is left out, however alive it is.
        self._network.at(self._now() + 2.0 * self._session, lambda: self._give_up(generation))

    def _give_up(self, generation: int) -> None:
        if self._preparing and self._generation == generation:
            for member in [member for member in self.members if member not in self._joined]:
                self.members.remove(member)
                member.lost = True
                member.tell()
            self._complete_if_all()

    def _complete_if_all(self) -> None:
        if not self._preparing or not self.members or set(map(id, self._joined)) < set(map(id, self.members)):
            return
        self._generation += 1
        self._preparing = False
        for member, units in zip(self.members, self._share(self._units, len(self.members)), strict=True):
            member.generation = self._generation
            member.given = units
            member.tell()
        self._joined = []
