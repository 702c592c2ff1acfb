"""What the events of a raw message carry: it decides which faults must leave no trace."""

from schemas import Event, LeftOut
from schemas.errors import DecodeError
from streams.formats import formats
from streams.formats.book import BookChange
from streams.sources import RawMessage


def has_event_times(message: RawMessage) -> bool:
    """Return whether all that a message says counts from the venue's time, whenever it was received."""
    events = _events(message)
    return bool(events) and all(not each.known_time and each.event_time_ns > 0 for each in events)


def is_named(message: RawMessage) -> bool:
    """Return whether a repeat of a message can be told from another one that says the same.

    Its events have the venue's time, and a number or a name that the venue gives once (DESIGN 4.6).
    """
    events = _events(message)
    return has_event_times(message) and all(each.sequence >= 0 or bool(getattr(each, "id", "")) for each in events)


def _events(message: RawMessage) -> list[Event]:
    try:
        found = formats()[message.format](message.value, message.source)
    except DecodeError:
        return []
    if isinstance(found, LeftOut):
        return []
    return [each for each in found if not isinstance(each, BookChange)]
