"""Field types of hostile JSON, and errors that say what stood where."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from schemas import DecodeError

MAX_FRAME_BYTES = 8 << 20
"""What a message of the raw topics may hold: Coinbase sends a whole book of 5 MB in one frame."""

_HUGE = 1e18
LAST_NS = 4_102_444_800_000_000_000
"""The year 2100: a later time is another unit or nonsense."""

Positive = Annotated[float, Meta(gt=0, le=_HUGE)]
"""A price or a size. NaN and infinities fail the comparison."""
NonNegative = Annotated[float, Meta(ge=0, le=_HUGE)]
Milliseconds = Annotated[int, Meta(ge=1, le=LAST_NS // 1_000_000)]
"""A time in ms since 1970."""
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A venue's running number."""
Name = Annotated[str, Meta(min_length=1, max_length=64)]
"""A symbol, a venue, a token."""
Identifier = Annotated[str, Meta(max_length=256)]
"""A venue's own id of a record."""
Level = tuple[NonNegative, NonNegative]
"""Price and size of a book level; size 0 removes it."""

_Record = TypeVar("_Record")
_MESSAGE = re.compile(r"(?P<text>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def read(decoder: "msgspec.json.Decoder[_Record]", value: bytes) -> _Record:
    """Return what `decoder` reads in `value`; raises DecodeError with the path of what is wrong.

    >>> read(msgspec.json.Decoder(dict[str, Positive]), b'{"p": -1}')
    Traceback (most recent call last):
    schemas.errors.DecodeError: $[...]: expected `float` > 0.0
    """
    if len(value) > MAX_FRAME_BYTES:
        raise DecodeError(f"expected at most {MAX_FRAME_BYTES} bytes, got {len(value)}")
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        raise _explained(str(error), value) from None
    except RecursionError:
        raise DecodeError("expected a frame, got one nested too deeply to read") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError(f"expected JSON, got {bytes(value)[:40]!r}: {error}") from None


def _explained(message: str, value: bytes) -> DecodeError:
    match = _MESSAGE.match(message)
    text, path = (match["text"], match["path"] or "$") if match else (message, "$")
    problem = text[:1].lower() + text[1:]
    if not any(word in problem for word in (", got", "missing", "enum value")):
        problem += _received(value, path)
    return DecodeError(problem, path=path)


def _received(value: bytes, path: str) -> str:
    """Return ", got ..." for what stands at `path`, nothing where that cannot be told."""
    steps = _STEP.findall(path)
    if "".join(f".{name}" if name else f"[{index}]" for name, index in steps) != path.removeprefix("$"):
        return ""
    try:
        found: Any = msgspec.json.decode(value)
        for name, index in steps:
            found = found[name] if name else found[int(index)]
        return f", got {shown(found)}"
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, RecursionError):
        return ""


def shown(value: Any) -> str:
    """Return `value` for an error's text, cut to what fits into a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - a line's worth


def time_ns(value: str | float, path: str) -> int:
    """Return a time in nanoseconds since 1970, from a number of any usual unit, or a text.

    Texts are ISO 8601 or RFC 5322, without an offset UTC. Numbers are in s, ms, us or ns by their
    size: in any other unit they would lie decades from today.

    >>> time_ns(1_700_000_000, "$"), time_ns("2023-11-14T22:13:20Z", "$"), time_ns("1700000000000", "$")
    (1700000000000000000, 1700000000000000000, 1700000000000000000)
    """
    number = _number(value)
    time = _text_time_ns(str(value), path) if number is None else _number_time_ns(number)
    if not 0 < time <= LAST_NS:
        raise DecodeError(f"expected a time between 1970 and 2100, got {shown(value)}", path=path)
    return time


def _number(value: str | float) -> int | float | None:
    if not isinstance(value, str):
        return value
    if len(value) <= 19 and value.isascii() and value.isdigit():  # noqa: PLR2004 - digits of a time in ns
        return int(value)
    return None


def _number_time_ns(number: float) -> int:
    if not 0 < number <= LAST_NS:
        return 0
    for limit, unit_ns in ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000)):
        if number < limit:
            # A double holds a time of our days in s to 0.24 us: round to whole microseconds.
            return number * unit_ns if isinstance(number, int) else round(number * (unit_ns // 1_000)) * 1_000
    return int(number)


def _text_time_ns(text: str, path: str) -> int:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            time = parse(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        try:
            aware = time if time.tzinfo else time.replace(tzinfo=UTC)
            since = aware - datetime(1970, 1, 1, tzinfo=UTC)
        except OverflowError:
            continue
        return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
    raise DecodeError(f"expected a time (ISO 8601, RFC 5322 or a number), got {shown(text)}", path=path)
