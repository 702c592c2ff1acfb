"""Dead letters as they are read again: which there are, which of them were sent again."""

import json
from collections.abc import Iterator, Mapping

import msgspec

from schemas import DecodeError
from schemas.errors import SettingsError
from schemas.topics import DEAD_LETTER
from streams.dead_letters import ADDED, Place
from streams.kafka import partition_counts, read_topic
from streams.settings import Settings
from streams.stage import Message

MARK = "x-dlq-replay"
"""Header of the records in which a replay keeps account on the topic of the dead letters: no letters."""
_SHOWN_BYTES = 48


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter, with its record as it was."""

    place: Place
    time_ms: int
    """When it was written."""
    origin: Place
    stage: str
    reason: str
    message: str
    app_version: str
    attempts: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    """Those of the record alone."""

    def summary(self) -> dict[str, object]:
        """Return what a list says of it."""
        return {
            "place": str(self.place),
            "time_ms": self.time_ms,
            "reason": self.reason,
            "stage": self.stage,
            "origin": str(self.origin),
            "message": self.message,
            "bytes": len(self.value or b""),
            "first_bytes": readable(self.value, _SHOWN_BYTES),
            "attempts": self.attempts,
        }


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters are meant; what is empty or None means all. Times are when they were written."""

    reason: str = ""
    stage: str = ""
    topic: str = ""
    since_ms: int | None = None
    until_ms: int | None = None

    def has(self, letter: DeadLetter) -> bool:
        """Say whether a letter is one of them."""
        pairs = ((self.reason, letter.reason), (self.stage, letter.stage), (self.topic, letter.origin.topic))
        early = self.since_ms is not None and letter.time_ms < self.since_ms
        late = self.until_ms is not None and letter.time_ms >= self.until_ms
        return all(wanted in {"", found} for wanted, found in pairs) and not early and not late


def is_mark(headers: Mapping[str, bytes]) -> bool:
    """Say whether a record of the topic is an account of a replay and no letter: a letter may bear any other header."""
    return MARK in headers and not any(name in headers for name in ADDED)


def opened(message: Message) -> DeadLetter:
    """Return the dead letter that a message is; raises DecodeError."""
    pairs = list(message.header_pairs())
    added: dict[str, str] = {}
    # Ours are the last: a record may itself bear such headers, of another system or of an earlier replay.
    while pairs and pairs[-1][0] in ADDED and pairs[-1][0] not in added:
        name, value = pairs.pop()
        added[name] = (value or b"").decode("utf-8", "replace")
    place = Place(message.topic, message.partition, message.offset)
    try:
        topic, partition, offset = (added[f"__streams.errors.{name}"] for name in ("topic", "partition", "offset"))
        return DeadLetter(
            place=place,
            time_ms=message.timestamp_ms,
            origin=Place(topic, int(partition), int(offset)),
            stage=added["x-dlq-stage"],
            reason=added["x-dlq-reason"],
            message=added["__streams.errors.message"],
            app_version=added.get("x-dlq-app-version", ""),
            attempts=int(added.get("x-dlq-attempts", "1")),
            key=message.key,
            value=message.value,
            headers=tuple(pairs),
        )
    except (KeyError, ValueError) as error:
        raise DecodeError(f"expected the headers of a dead letter, got {error!r}", where=str(place)) from None


def letters(settings: Settings, *, start: Mapping[int, int] | None = None) -> Iterator[DeadLetter]:
    """Yield the dead letters that the topic holds now, in its order; raises DecodeError, StateError."""
    yield from (opened(message) for message in _records(settings, start) if not is_mark(message.headers))


def letter_at(settings: Settings, text: str) -> DeadLetter:
    """Return the letter at a place, `dead-letter.v1[0]@17` or `17`; raises SettingsError where there is none."""
    name = f"{DEAD_LETTER}[0]@{text}" if text.isdigit() else text
    try:
        place = Place.read(name)
    except DecodeError:
        raise SettingsError(f"expected a place such as {DEAD_LETTER}[0]@17, or 17, got {text!r}") from None
    found = next(letters(settings, start={place.partition: place.offset}), None)
    if found is None or found.place != place:
        raise SettingsError(f"{place}: no dead letter is there; `foreshock dead-letter list` shows where they are")
    return found


class Marks(msgspec.Struct):
    """What replays have written down: which letters are sent for certain, and which may be."""

    done: set[int] = msgspec.field(default_factory=set)
    """Offsets of letters."""
    begun: dict[str, tuple[set[int], dict[str, int]]] = msgspec.field(default_factory=dict)
    """Batches without an end: offsets of letters, and where their topics ended before, by topic[partition]."""


def surveyed(settings: Settings) -> Iterator[tuple[DeadLetter | None, Marks]]:
    """Yield each letter with the marks so far, None with a mark; the last pair has all marks."""
    marks = Marks()
    for message in _records(settings, None):
        if is_mark(message.headers):
            _note(marks, message)
            yield None, marks
        else:
            yield opened(message), marks


def _note(marks: Marks, message: Message) -> None:
    batch = message.headers["x-dlq-replay-batch"].decode()
    if message.headers[MARK] == b"done":
        offsets, _ = marks.begun.pop(batch, (set(), {}))
        marks.done |= offsets
    else:
        said = json.loads(message.headers["x-dlq-replay-of"])
        marks.begun[batch] = set(said["letters"]), said["ends"]


def _records(settings: Settings, start: Mapping[int, int] | None) -> Iterator[Message]:
    if not partition_counts(settings, [DEAD_LETTER]):
        raise SettingsError(f"{DEAD_LETTER}: there is no such topic; create it with `foreshock topics apply`")
    return read_topic(settings, DEAD_LETTER, start=start)


def readable(value: bytes | None, most: int) -> str:
    r"""Return the first bytes of anything as text that harms no terminal.

    >>> readable(b'{"a"\x1b[2J', 8)
    '{"a"\\x1b[2J'
    >>> readable(b"abcdef", 3)
    'abc...'
    """
    if value is None:
        return "no value"
    shown = value[:most].decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
    return text + ("..." if len(value) > most else "")
