"""Faults on purpose: damaged, repeated and shuffled messages, the same for the same seed."""

import random
import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from streams.sources import RawMessage

_NUMBER = re.compile(rb'"(p|b|bid|bid_price|price|close|value|mark_price)":\s*"?[0-9][^,}"]*"?')
"""The first number that every decoder has to believe in, whatever the format."""


def damage(
    messages: Iterable[RawMessage],
    ratio: float,
    seed: int,
    on_damage: Callable[[RawMessage, RawMessage], None] | None = None,
) -> Iterator[RawMessage]:
    """Yield `messages`, about a `ratio` of them damaged so that no decoder can take them.

    `on_damage` is told the message as it was and as it became.
    """
    chance = random.Random(seed)
    kinds = list(DAMAGES.values())
    for message in messages:
        if chance.random() >= ratio:
            yield message
            continue
        damaged = chance.choice(kinds)(message)
        if on_damage is not None:
            on_damage(message, damaged)
        yield damaged


def duplicate(
    messages: Iterable[RawMessage],
    ratio: float,
    seed: int,
    distance: int = 100,
    of: Callable[[RawMessage], bool] = lambda _: True,
) -> Iterator[RawMessage]:
    """Yield `messages`, about a `ratio` of those that are `of` a kind again, at most `distance` messages later.

    The second copy keeps its receive time: the recorder's, not that of the repeat.
    """
    chance = random.Random(seed)
    due: list[tuple[int, int, RawMessage]] = []
    for place, message in enumerate(messages):
        yield message
        if chance.random() < ratio and of(message):
            due.append((place + chance.randint(1, distance), place, message))
            due.sort(key=lambda again: again[:2])
        while due and due[0][0] <= place:
            yield due.pop(0)[2]
    for *_, message in due:
        yield message


def shuffle(messages: Iterable[RawMessage], distance_ns: int, seed: int) -> Iterator[RawMessage]:
    """Yield `messages` with each receive time put off by up to `distance_ns`, in the new order."""
    chance = random.Random(seed)
    waiting: list[tuple[int, int, RawMessage]] = []
    for place, message in enumerate(messages):
        now = message.receive_time_ns
        later = now + chance.randint(0, distance_ns)
        waiting.append((later, place, msgspec.structs.replace(message, receive_time_ns=later)))
        if len(waiting) > _SORT_EVERY:
            yield from _before(waiting, now)
    yield from _before(waiting, None)


_SORT_EVERY = 1_000


def _before(waiting: list[tuple[int, int, RawMessage]], time_ns: int | None) -> Iterator[RawMessage]:
    """Take out what can come no later than anything still to be read: all before `time_ns`."""
    waiting.sort(key=lambda timed: timed[:2])
    ready = [timed for timed in waiting if time_ns is None or timed[0] < time_ns]
    del waiting[: len(ready)]
    for *_, message in ready:
        yield message


def _with(message: RawMessage, value: bytes) -> RawMessage:
    return msgspec.structs.replace(message, value=value)


def _truncated(message: RawMessage) -> RawMessage:
    return _with(message, message.value[: len(message.value) // 2])


def _wrong_type(message: RawMessage) -> RawMessage:
    return _with(message, b"42")


def _bad_number(message: RawMessage) -> RawMessage:
    value, count = _NUMBER.subn(rb'"\1":"-1.0.0"', message.value, count=1)
    return _with(message, value) if count else _truncated(message)


def _bad_text(message: RawMessage) -> RawMessage:
    return _with(message, b"\xff\xfe" + message.value)


def _bad_json(message: RawMessage) -> RawMessage:
    return _with(message, message.value + b"}")


def _empty(message: RawMessage) -> RawMessage:
    return _with(message, b"")


def _unknown_format(message: RawMessage) -> RawMessage:
    return msgspec.structs.replace(message, format="no-such-format")


DAMAGES: dict[str, Callable[[RawMessage], RawMessage]] = {
    "truncated": _truncated,
    "wrong type": _wrong_type,
    "bad number": _bad_number,
    "bad text": _bad_text,
    "bad JSON": _bad_json,
    "empty": _empty,
    "unknown format": _unknown_format,
}
"""Ways to damage a message, by name."""
