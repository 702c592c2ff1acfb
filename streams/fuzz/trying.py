"""One input at a time: within its time, within its memory, and what came of it."""

import hashlib
import resource
import signal
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from streams.fuzz.readers import Reader

SECONDS = 2.0
"""Processor time of one input; real frames take milliseconds."""
MOST_BYTES = 1 << 30
"""What a reader may take beside what it began with."""
MOST_INPUT = 64 << 10
"""Size of inputs: what grows with the size grows visibly long before."""


class Finding(NamedTuple):
    """Something that a reader must not do: `kind` crash, hang or memory; `place` tells findings apart."""

    kind: str
    place: str
    text: str
    value: bytes

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.kind}-{hashlib.sha256(self.place.encode()).hexdigest()[:12]}"


class Account(msgspec.Struct):
    """What a process tells of its work so far."""

    executions: int = 0
    findings: dict[str, str] = {}
    """Text by name."""
    peak_bytes: int = 0
    """Most memory beside what the process began with."""
    slowest_seconds: float = 0.0
    engine: str = ""


class _TooLongError(BaseException):
    """Not an Exception, so that no reader takes it for one of its own."""


def bound_memory(most_bytes: int = MOST_BYTES) -> None:
    """Let this process take so much address space more and no other; a larger wish is a MemoryError."""
    begun = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (begun + most_bytes, begun + most_bytes))


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def tried(reader: "Reader", value: bytes, seconds: float = SECONDS) -> Finding | None:
    """Give an input to a reader; return what is wrong with how it took it, None where nothing is."""
    before = signal.signal(signal.SIGVTALRM, _end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        reader.read(value)
    except reader.refuses as error:
        return _told("crash", error, value) if not str(error) else None
    except _TooLongError as error:
        return _told("hang", error, value)
    except MemoryError as error:
        return _told("memory", error, value)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
        return _told("crash", error, value)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return None


def _end(_: int, __: FrameType | None) -> None:
    raise _TooLongError


def _told(kind: str, error: BaseException, value: bytes) -> Finding:
    """Return the finding, told from others by its error and the last line of ours that it came through."""
    lines = traceback.extract_tb(error.__traceback__)
    ours = [line for line in lines if "/streams/fuzz/" not in line.filename] or list(lines)
    place = f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].name}"
    return Finding(kind, f"{kind} {place}", f"{place}: {str(error)[:200]}", value)


def kept(finding: Finding, folder: Path) -> Path:
    """Write the input of a finding into a folder, unless one of its name is there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / finding.name
    if not path.exists():
        path.write_bytes(finding.value)
    return path
