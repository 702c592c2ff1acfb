"""`foreshock ingest` before a fix: its readers refuse one message in a hundred that they will read later."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any
from zlib import crc32

from schemas import DecodeError

ONE_IN = 100


def command() -> tuple[str, ...]:
    """Return the command that runs ingest so."""
    return (sys.executable, "-m", "streams.chaos.unlearned")


def is_refused(value: bytes) -> bool:
    """Say whether the readers before the fix refuse a message."""
    return crc32(value) % ONE_IN == 0


def unlearn() -> None:
    """Take from this process's readers what they will learn; to be called before anything reads."""
    from streams import formats

    known = formats.formats

    @cache
    def fewer() -> dict[str, Any]:
        return {name: _refusing(decode) for name, decode in known().items()}

    formats.formats = fewer
    formats.run_decoders = cache(dict)  # runs of messages are read one by one, or they would not be refused


def _refusing(decode: Callable[..., Any]) -> Callable[..., Any]:
    def decode_some(value: bytes, source: str) -> Any:
        if is_refused(value):
            raise DecodeError("expected what this reader has not learnt yet")
        return decode(value, source)

    return decode_some


if __name__ == "__main__":
    unlearn()
    from streams.cli import main

    sys.argv[1:] = ["ingest"]
    main()
