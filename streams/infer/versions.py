"""Which version of the networks makes the forecasts of an origin, and which one runs in shadow.

Decisions are followed on `ops.model` while forecasts are made. Each version has a client of its own,
with its own breaker and canaries: one in shadow that is slow, dead or wrong is not asked any more,
and nobody else notices.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException

from schemas.errors import StateError
from schemas.topics import OPS_MODEL
from streams.decisions import DecisionLog, Standing
from streams.follower import Follower
from streams.infer.models import Models, Network, beside, read_models, unlike
from streams.metrics_server import Metrics
from streams.runner import end_on_error
from streams.settings import Settings
from streams.triton_client import Served, TritonClient

LOGGER = logging.getLogger("foreshock.infer")
LOOK_SECONDS = 0.5
START_SECONDS = 20.0
"""How long the first forecasts wait for a Triton that is there but still loads."""
LEAVE_SECONDS = 60.0
"""A version that nobody was given for so long, longer than any deadline of a request, may be let go."""


class Choice(NamedTuple):
    """What makes the forecasts of the origins before `until_ns` (None: of all that come)."""

    models: Models
    """The active networks first, then those in shadow."""
    until_ns: int | None = None
    client: TritonClient | None = None
    shadow: TritonClient | None = None


class Versions:
    """The versions of a profile's networks that are in use."""

    def __init__(self, settings: Settings, repository: Path, metrics: Metrics) -> None:
        self.log = DecisionLog(settings.profile)
        self._settings = settings
        self._repository = repository
        self._metrics = metrics
        self._follower = Follower(settings, OPS_MODEL)
        self._read: dict[str, Models | None] = {}
        """By version; None where it cannot be used."""
        self._choices: dict[Standing, Models] = {}
        self._clients: dict[str, TritonClient] = {}
        self._given: dict[str, float] = {}
        """By version: when somebody was given its client last, by the monotonic clock."""
        self._starts: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._start: Models
        """What this process began with: tensors are the same as long as it lives."""

    async def start(self) -> Models:
        """Read the decisions and the bundles, connect to Triton, and return the models to begin with.

        Raises StateError where a bundle is damaged, or the decisions cannot be read.
        """
        try:
            self.log.take(await asyncio.to_thread(self._follower.read))
        except KafkaException as error:
            raise StateError(f"{OPS_MODEL}: decisions on models cannot be read: {error}") from None
        self._start = self._first()
        self._prepare()
        active = self._clients.get(self._start.version)
        if active is not None:
            await self._starts[self._start.version]
            if not active.breaker.is_closed:
                LOGGER.warning(
                    "%s: no model answers, forecasts are fallbacks until one does", self._settings.triton_url
                )
        self._begin(self._follow())
        return self._start

    async def stop(self) -> None:
        """Stop following and close all connections."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(client.stop() for client in self._clients.values()))
        self._follower.close()

    def at(self, origin_ns: int) -> Choice:
        """Return what makes the forecasts of an origin."""
        if not self._start.networks:
            return Choice(self._start)
        standing = self.log.at(origin_ns)
        models = self._choices.get(standing)
        if models is None:
            models = self._choices[standing] = self._chosen(standing)
        shadow = next((network.version for network in models.networks if network.is_shadow), "")
        choice = Choice(models, self.log.next_border_ns(origin_ns), self._client(models.version), self._client(shadow))
        for version, client in self._clients.items():
            client.lead(leads=version == models.version)
        return choice

    # Which versions.

    def _first(self) -> Models:
        """Return the models that are active once all borders are passed; those before them where it is not there."""
        wanted = self.log.at().history
        for version in reversed(wanted):
            try:
                return self._models(version)
            except StateError as error:
                LOGGER.error("version %s is active but cannot be used: %s", version, error)  # noqa: TRY400 - one line
        return self._models("")

    def _models(self, version: str) -> Models:
        interval_ns = self._settings.rules.row_interval_ns
        return read_models(self._settings.profile, self._repository, version=version, row_interval_ns=interval_ns)

    def _usable(self, version: str) -> Models | None:
        """Return the models of a version where it is there and reads the tensors that this process makes."""
        if version in ("", self._start.version):
            return self._start
        if version not in self._read:
            self._read[version] = None
            try:
                models = self._models(version)
                problem = unlike(self._start, models)
            except StateError as error:
                problem = str(error)
            if problem:
                LOGGER.error(
                    "version %s is decided on but cannot be used, start infer anew for it: %s", version, problem
                )
            else:
                self._read[version] = models
        return self._read[version]

    def _chosen(self, standing: Standing) -> Models:
        history = standing.history or (self.log.first(),)
        usable = filter(None, map(self._usable, reversed(history)))
        active = next(usable, None) or self._start
        shadow = self._usable(standing.shadow) if standing.shadow else None
        return active if shadow is None or shadow is active else beside(active, shadow)

    # Their clients.

    def _client(self, version: str) -> TritonClient | None:
        """Return the client of a version, begun where there was none."""
        models = self._usable(version) if version else None
        if models is None or not models.networks:
            return None
        if version not in self._clients:
            client = TritonClient(self._settings, [served(one) for one in models.active], self._metrics)
            client.lead(leads=not self._clients)
            self._clients[version] = client
            self._starts[version] = self._begin(_started(client))
        self._given[version] = time.monotonic()
        return self._clients[version]

    def _wanted(self) -> list[str]:
        """Return what is active, what a rollback would go to, and what is in shadow, once all borders are passed."""
        standing = self.log.at()
        first = "" if standing.history else self._start.version
        return [name for name in (first, *reversed(standing.history[-2:]), standing.shadow) if name]

    def _prepare(self) -> None:
        """Have loaded what is wanted."""
        for version in self._wanted():
            self._client(version)

    def _let_go(self) -> None:
        """Have versions unloaded that are wanted no more, once no origin before a border needs them."""
        for version in self._clients.keys() - set(self._wanted()):
            if self._starts[version].done() and time.monotonic() - self._given[version] > LEAVE_SECONDS:
                self._begin(self._clients.pop(version).retire())

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run work beside the forecasts; an error of it ends the process."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(end_on_error)
        return task

    # Following.

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                messages = await asyncio.to_thread(self._follower.read)
            except (KafkaException, StateError) as error:
                LOGGER.warning("decisions on models cannot be read, versions stay as they are: %s", error)
                continue
            if self.log.take(messages):
                # What could not be used may have been put right.
                self._read = {version: models for version, models in self._read.items() if models is not None}
                self._choices.clear()
                self._prepare()
            self._let_go()


async def _started(client: TritonClient) -> None:
    await client.start(START_SECONDS)


def served(network: Network) -> Served:
    """Return what a client needs to know of a network."""
    return Served(network.name, network.version, network.outputs, network.canary)
