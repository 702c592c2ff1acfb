"""Room on the disks that a run writes to."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from streams.doctor.broker import broker_config
from streams.doctor.finding import Finding, error, fine, warning
from streams.settings import Settings

GIB = 1 << 30
LEAST_BYTES = GIB
"""Less is gone within minutes of a backlog."""
FEW_BYTES = 5 * GIB
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


def disk_findings(settings: Settings) -> Iterator[Finding]:
    """Yield how much room the state folder has."""
    yield _room("state", settings.state_dir)


def log_findings(settings: Settings) -> Iterator[Finding]:
    """Yield how much room the broker's logs have, where they are on this machine; raises StateError."""
    hosts = {server.rpartition(":")[0] for server in settings.bootstrap_servers.split(",")}
    if not hosts & set(_LOCAL):
        return
    config = broker_config(settings)
    named = config.get("log.dirs") or config.get("log.dir") or ""
    # On another machine, behind a tunnel, the folder is not here.
    for folder in (Path(name) for name in named.split(",") if name not in {"", "None"}):
        if folder.is_dir():
            yield _room("broker's log", folder)


def _room(what: str, path: Path) -> Finding:
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return room_finding(f"{what}: {path}", shutil.disk_usage(there).free)


def room_finding(subject: str, free: int) -> Finding:
    """Return what so many free bytes mean."""
    what = f"{free / GIB:.1f} GiB are free"
    fix = "make room, or move it: " + (
        "FORESHOCK_STATE_DIR" if subject.startswith("state") else "log.dirs of the broker"
    )
    if free < LEAST_BYTES:
        return error("disk", subject, f"{what}: a full disk ends the broker, or the workers", fix)
    if free < FEW_BYTES:
        return warning("disk", subject, what, fix)
    return fine("disk", subject, what)
