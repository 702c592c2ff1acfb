"""What a command makes sure of before it begins: an error then costs seconds, not the whole work."""

import os
import socket
from pathlib import Path
from tempfile import NamedTemporaryFile

from confluent_kafka import KafkaException

from schemas.errors import SettingsError, StateError
from streams.kafka import metadata
from streams.settings import Settings

BROKER_SECONDS = 3.0
"""How long a command for people waits for a broker's first answer; one on this machine takes milliseconds."""


def require_writable(**paths: Path | None) -> None:
    """Make the folders of files that options name, None: not given; raises SettingsError where one cannot be written.

    >>> require_writable(rows=Path("/dev/null/x/rows.parquet"))
    Traceback (most recent call last):
    schemas.errors.SettingsError: --rows /dev/null/x/rows.parquet: its folder cannot be made: Not a directory
    """
    for name, path in paths.items():
        if path is not None:
            _require_writable(f"--{name} {path}", path)


def _require_writable(what: str, path: Path) -> None:
    if path.is_dir():
        raise SettingsError(f"{what}: is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{what}: its folder cannot be made: {error.strerror}") from None
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SettingsError(f"{what}: cannot be written: Permission denied")


def require_folders(**folders: Path) -> None:
    """Make the folders that options name and write into each; raises SettingsError where that fails."""
    for name, folder in folders.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise SettingsError(f"--{name} {folder}: cannot be written to ({error.strerror})") from None


def require_broker(settings: Settings) -> None:
    """Raise StateError unless a Kafka broker answers within seconds, with nothing else on the screen."""
    servers = settings.bootstrap_servers.split(",")
    if not any(map(_listens, servers)) or not _answers(settings):
        raise StateError(
            f"{settings.bootstrap_servers}: no Kafka broker answers; start one with `foreshock up`, "
            "or set FORESHOCK_BOOTSTRAP_SERVERS to one that runs"
        )


def _listens(server: str) -> bool:
    """Return whether anything takes a connection: that nothing does is known at once."""
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), BROKER_SECONDS).close()
    except (OSError, ValueError):
        return False
    return True


def _answers(settings: Settings) -> bool:
    try:
        metadata(settings, BROKER_SECONDS)
    except KafkaException:
        return False
    return True
