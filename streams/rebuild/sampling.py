"""Some forecasts of the topic, drawn at random by a seed."""

import random
from collections.abc import Iterator

from schemas.topics import FORECAST
from streams.reading import LogReader
from streams.stage import Message

_GAP = 200
"""Records between two that are wanted which are read through rather than jumped over."""


def drawn(reader: LogReader, count: int, seed: int) -> Iterator[Message]:
    """Yield `count` records of the topic, or all where there are fewer, in the order of the log.

    The same seed draws the same ones of the same log.
    """
    bounds = [reader.bounds(FORECAST, partition) for partition in range(reader.partitions(FORECAST))]
    total = sum(high - low for low, high in bounds)
    chosen = sorted(random.Random(seed).sample(range(total), min(count, total)))
    passed = 0
    for partition, (low, high) in enumerate(bounds):
        offsets = [low + place - passed for place in chosen if passed <= place < passed + high - low]
        passed += high - low
        for run in _runs(offsets):
            wanted = set(run)
            for message in reader.read(FORECAST, partition, run[0], run[-1] + 1):
                if message.offset in wanted:
                    yield message


def _runs(offsets: list[int]) -> Iterator[list[int]]:
    """Yield offsets in runs that are read at once."""
    run: list[int] = []
    for offset in offsets:
        if run and offset - run[-1] > _GAP:
            yield run
            run = []
        run.append(offset)
    if run:
        yield run
