"""Dead letters sent again to where their records stood, each once.

Before a batch is sent, a record on the topic of the dead letters says which letters it holds and where
their topics end; behind it another says that Kafka has acknowledged it. A batch without the second
was cut short: what of it went out bears the header `x-replayed-from` behind those ends.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator

import msgspec

from schemas.errors import StateError
from schemas.rules import Rules
from schemas.topics import DEAD_LETTER, RAW_TOPICS
from streams.dead_letters import REPLAYED, Place, replayed_from
from streams.dead_letters.reading import MARK, Chosen, DeadLetter, Marks, letters, surveyed
from streams.ingest.normaliser import Normaliser
from streams.kafka import Outbox, partition_counts, read_topic, watermarks
from streams.settings import Settings

BATCH_LETTERS = 500
"""Letters between two marks."""
_BATCH_BYTES = 32 << 20

Progress = Callable[[int, int], None]
"""Told how many of how many letters are sent."""


class Replay(msgspec.Struct, kw_only=True):
    """What became of the letters that were chosen: chosen = sent + again + twice + unreadable."""

    chosen: int = 0
    sent: dict[str, int] = {}
    """By topic. In a dry run: what would be sent."""
    again: int = 0
    """Letters left out because their record was sent again before."""
    twice: int = 0
    """Letters left out because another one of the same record is sent: stages repeat letters after a crash."""
    unreadable: int = 0
    """Letters of raw records left out because this release cannot read them either: they would come back."""

    @property
    def inner(self) -> list[str]:
        """The topics that ingest does not read: what is old in them is a repeat to the stages."""
        return sorted(self.sent.keys() - set(RAW_TOPICS))


def replay(
    settings: Settings,
    chosen: Chosen,
    *,
    limit: int | None = None,
    again: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda *_: None,
) -> Replay:
    """Send the records of dead letters to their topics and partitions again, in the order of the letters.

    `limit`: that many at most. `again`: also what was sent before. Raises StateError where a topic
    has no such partition any more, DeliveryError where Kafka does not take a record; what was sent
    until then is written down, and the next replay goes on behind it.
    """
    outcome, wanted = _selected(settings, chosen, limit=limit, again=again)
    _require_places(settings, wanted.values())
    for origin in wanted.values():
        outcome.sent[origin.topic] = outcome.sent.get(origin.topic, 0) + 1
    if dry_run or not wanted:
        return outcome
    outbox, sent = Outbox(settings, "foreshock-dead-letter"), 0
    first = {0: min(wanted)}
    found = (letter for letter in letters(settings, start=first) if letter.place.offset in wanted)
    for batch in _batches(found):
        _send(settings, outbox, batch)
        sent += len(batch)
        progress(sent, len(wanted))
    return outcome


def _selected(settings: Settings, chosen: Chosen, *, limit: int | None, again: bool) -> tuple[Replay, dict[int, Place]]:
    """Return the account, and the letters to send: {offset: where the record stood}."""
    outcome, marks = Replay(), Marks()
    origins: dict[int, Place] = {}
    candidates: dict[int, Place] = {}
    unreadable: set[int] = set()
    readable = Readable(settings.rules)
    for letter, known in surveyed(settings):
        marks = known
        if letter is not None:
            origins[letter.place.offset] = letter.origin
            if chosen.has(letter):
                candidates[letter.place.offset] = letter.origin
                if not readable.has(letter):
                    unreadable.add(letter.place.offset)
    sent = {origins[offset] for offset in sent_again(settings, marks) if offset in origins}
    wanted: dict[int, Place] = {}
    taken: set[Place] = set()
    for offset, origin in candidates.items():
        if limit is not None and len(wanted) >= limit:
            break
        outcome.chosen += 1
        if origin in sent and not again:
            outcome.again += 1
        elif origin in taken:
            outcome.twice += 1
        elif offset in unreadable:
            outcome.unreadable += 1
        else:
            wanted[offset] = origin
            taken.add(origin)
    return outcome, wanted


class Readable:
    """Reads raw records as ingest does, to know which of them it would refuse again."""

    def __init__(self, rules: Rules) -> None:
        self._readers = {topic: Normaliser(topic, 0, rules) for topic in RAW_TOPICS}

    def has(self, letter: DeadLetter) -> bool:
        """Say whether a letter's record can be read; of an inner topic nobody knows before its stage has tried."""
        reader = self._readers.get(letter.origin.topic)
        if reader is None:
            return True
        refused = reader.tally.dead_letters.total()
        reader.feed(reader.next_offset, letter.key, letter.value, letter.headers)
        reader.flush()
        return reader.tally.dead_letters.total() == refused


def sent_again(settings: Settings, marks: Marks) -> set[int]:
    """Return the offsets of the letters whose records went out again, those of batches cut short included."""
    sent = set(marks.done)
    for offsets, ends in marks.begun.values():
        sent |= offsets & set(_arrived(settings, ends))
    return sent


def _arrived(settings: Settings, ends: dict[str, int]) -> Iterator[int]:
    """Yield the offsets of the letters that stand behind `ends` again."""
    existing = partition_counts(settings, {name.rpartition("[")[0] for name in ends})
    for name, end in ends.items():
        topic, _, partition = name.rstrip("]").rpartition("[")
        if int(partition) >= existing.get(topic, 0):
            continue
        place = int(partition)
        for message in read_topic(settings, topic, partitions=[place], start={place: end}):
            found = replayed_from(message.headers)
            if found is not None:
                yield found[0].offset


def _require_places(settings: Settings, origins: Iterable[Place]) -> None:
    places = {(origin.topic, origin.partition) for origin in origins}
    existing = partition_counts(settings, {topic for topic, _ in places})
    for topic, partition in sorted(places):
        if partition >= existing.get(topic, 0):
            raise StateError(
                f"{topic}[{partition}]: is not there any more, and dead letters are of it; nothing was sent: "
                "create it with `foreshock topics apply`, or choose others with --topic"
            )


def _batches(found: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    batch: list[DeadLetter] = []
    size = 0
    for letter in found:
        batch.append(letter)
        size += len(letter.value or b"")
        if len(batch) >= BATCH_LETTERS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _send(settings: Settings, outbox: Outbox, batch: list[DeadLetter]) -> None:
    name = uuid.uuid4().hex
    said = {"letters": [letter.place.offset for letter in batch], "ends": _ends(settings, batch)}
    _mark(outbox, [(MARK, b"begin"), ("x-dlq-replay-batch", name.encode()), ("x-dlq-replay-of", _json(said))])
    for letter in batch:
        headers = [*letter.headers, (REPLAYED, f"{letter.place} {letter.origin}".encode())]
        outbox.send(
            letter.origin.topic, letter.value, key=letter.key, headers=headers, partition=letter.origin.partition
        )
    outbox.flush_acknowledged()
    _mark(outbox, [(MARK, b"done"), ("x-dlq-replay-batch", name.encode())])


def _ends(settings: Settings, batch: list[DeadLetter]) -> dict[str, int]:
    places = {(letter.origin.topic, letter.origin.partition) for letter in batch}
    marks = {topic: watermarks(settings, topic) for topic in {topic for topic, _ in places}}
    return {f"{topic}[{partition}]": marks[topic][partition][1] for topic, partition in sorted(places)}


def _mark(outbox: Outbox, headers: list[tuple[str, bytes]]) -> None:
    outbox.send(DEAD_LETTER, None, headers=headers, partition=0)
    outbox.flush_acknowledged()


def _json(said: object) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode()
