"""What `foreshock run` tells of the processes that it looks after, and of the disks that they fill."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from confluent_kafka import KafkaException

from schemas.errors import ForeshockError
from schemas.metrics import DISK_FREE, DISK_SIZE, PROCESS_RESTARTS, PROCESS_RUNNING
from streams.doctor.broker import broker_config
from streams.metrics_server import Metrics
from streams.run import Supervisor
from streams.settings import Settings

_LOCAL = ("127.0.0.1", "localhost", "[::1]")


class RunMetrics:
    """Brings the metrics of a run up to date whenever somebody looks."""

    def __init__(self, metrics: Metrics, supervisor: Supervisor, folders: Mapping[str, Path]) -> None:
        self._metrics = metrics
        self._supervisor = supervisor
        self._folders = folders
        self._counted: dict[str, int] = {}
        metrics.before_each_look(self._look)

    def _look(self) -> None:
        for name in self._supervisor.names:
            starts = self._supervisor.starts(name)
            again = max(0, starts - 1)
            self._metrics[PROCESS_RESTARTS].labels(name).inc(again - self._counted.get(name, 0))
            self._counted[name] = again
            self._metrics[PROCESS_RUNNING].labels(name).set(self._supervisor.pid(name) is not None)
        for name, folder in self._folders.items():
            with suppress(OSError):  # not there yet, or not ours to look into
                room = shutil.disk_usage(folder)
                self._metrics[DISK_FREE].labels(name).set(room.free)
                self._metrics[DISK_SIZE].labels(name).set(room.total)


def folders_of(settings: Settings) -> dict[str, Path]:
    """Return by name the folders of this machine that a run fills: its state, a local store, a local broker's log."""
    found = {"state": settings.state_dir}
    if settings.store == "on" and "://" not in settings.store_url:
        found["store"] = Path(settings.store_url)
    if any(server.rpartition(":")[0] in _LOCAL for server in settings.bootstrap_servers.split(",")):
        try:
            named = broker_config(settings).get("log.dirs") or ""
        except (KafkaException, ForeshockError):
            named = ""  # a user who may not ask sees the other folders all the same
        if named.split(",")[0]:
            found["kafka"] = Path(named.split(",")[0])
    return found
