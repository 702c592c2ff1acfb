"""What is fetched once: folders outside the checkout that are complete or do not count.

Standard library alone: it runs before any package is installed.
"""

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
DEPLOY = CHECKOUT / "deploy"
MARK = ".complete"


def cache_dir() -> Path:
    """Return the folder of all downloads: FORESHOCK_CACHE, or ``~/.cache/foreshock``."""
    return Path(os.environ.get("FORESHOCK_CACHE") or Path.home() / ".cache" / "foreshock").absolute()


def fingerprint(*parts: object) -> str:
    """Return 16 hex digits that change when any of `parts` does.

    >>> fingerprint("a", "b") == fingerprint("ab")
    False
    """
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def say(text: str) -> None:
    """Tell the person at the terminal; stdout stays free for results."""
    print(f"foreshock: {text}", file=sys.stderr, flush=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file lock `path`; other processes wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return `folder`; where it is not complete, `build` fills it from empty while other processes wait."""
    mark = folder / MARK
    if mark.exists():
        return folder
    with locked(folder.with_name(folder.name + ".lock")):
        if not mark.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            build(folder)
            mark.touch()
    return folder


def read_checksums(path: Path) -> dict[str, str]:
    """Return sha256 by file name, from the lines of `sha256sum`."""
    return {name: digest for digest, name in (line.split() for line in path.read_text().splitlines())}


def checksums(folder: Path) -> dict[str, str]:
    """Return sha256 by file name of the files in `folder`."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
