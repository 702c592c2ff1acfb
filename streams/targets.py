"""Files that tell Prometheus where processes serve their metrics: one a process (its file_sd format)."""

from pathlib import Path

import msgspec

from deploy.ports import LOOPBACK
from streams.settings import Settings


def targets_folder(settings: Settings) -> Path:
    """Return where the files of a machine's processes lie; whoever looks reads all `*.json` in it."""
    return settings.state_dir / "targets"


class Targets:
    """The files of the processes that one supervisor looks after; gone with it, they are scraped no more."""

    def __init__(self, settings: Settings) -> None:
        self._folder = targets_folder(settings)
        self._files: set[Path] = set()

    def add(self, process: str, port: int) -> None:
        """Tell of a process, `stage-number` or `stage` alone; port 0: it serves nothing."""
        if not port:
            return
        labels = {"process": process, "stage": process.rpartition("-")[0] or process}
        path = self._folder / f"{process}.json"
        self._folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode([{"targets": [f"{LOOPBACK}:{port}"], "labels": labels}]))
        part.replace(path)  # whoever looks never sees half of it
        self._files.add(path)

    def clear(self) -> None:
        """Tell of nobody any more."""
        for path in self._files:
            path.unlink(missing_ok=True)
        self._files.clear()
