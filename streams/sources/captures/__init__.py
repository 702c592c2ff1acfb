"""Recorded market data as raw messages. One file here per kind of capture, found by being there.

A kind is a module with `recognise(path) -> Capture | str | None`: the capture that `path` is, or the
reason why a file of this kind is left out, or None where it is of another kind. It looks at the name
and at the first bytes only.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import msgspec

from schemas import ForeshockError
from streams.sources import RawMessage, merge
from streams.sources.captures.capture import Capture

_BESIDE = ("license", "readme", "manifest", ".")
"""Files that lie beside captures in a folder: what their lower-case names begin with."""


class Captures(msgspec.Struct, frozen=True):
    """The captures under some paths, by name, and the files of known kinds that are `left_out`."""

    files: tuple[Capture, ...]
    left_out: dict[Path, str]

    def messages(self) -> Iterator[RawMessage]:
        """Yield the messages of all captures by receive time; each file is read as it is needed.

        Two runs of one connection follow each other, several instruments are interleaved.
        """
        return merge(capture.read() for capture in self.files)


def find_captures(paths: Iterable[Path]) -> Captures:
    """Return the captures that `paths` (files or folders) hold, in an order that only names decide.

    Raises:
        ForeshockError: a path does not exist, a file is no capture, or there is none at all.
    """
    asked = list(paths)
    kinds = _kinds()
    found: dict[Path, Capture] = {}
    left_out: dict[Path, str] = {}
    for path in sorted({file.resolve() for asked_path in asked for file in _files(asked_path)}):
        verdict = _recognise(path, kinds)
        if isinstance(verdict, str):
            left_out[path] = verdict
        else:
            found[path] = verdict
    if not found:
        reasons = "; ".join(f"{path.name}: {reason}" for path, reason in left_out.items())
        names = ", ".join(map(str, asked)) or "no path"
        raise ForeshockError(f"no capture to read in {names}" + (f" ({reasons})" if reasons else ""))
    return Captures(tuple(found.values()), left_out)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ForeshockError(f"{path}: no such file or folder; give captures or a folder of them")
    inside = [file for file in path.rglob("*") if file.is_file()]
    return [file for file in inside if not file.name.lower().startswith(_BESIDE)]


def _recognise(path: Path, kinds: list[ModuleType]) -> Capture | str:
    for kind in kinds:
        verdict: Capture | str | None = kind.recognise(path)
        if verdict is not None:
            return verdict
    known = ", ".join(kind.NAME for kind in kinds)
    raise ForeshockError(f"{path}: not a capture of a known kind; known are {known}")


def _kinds() -> list[ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [module for module in modules if hasattr(module, "recognise")]
