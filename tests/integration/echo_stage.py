"""A stage whose every output shows its whole state: a digest chained over all it has read.

Run as a process of its own by test_faust_app. The input decides what goes wrong: a value that
starts with `gate` leaves a file and waits for another, `fail` raises, `hold` stops reading the topic for a while.
"""

import asyncio
import hashlib
import json
import sys
from pathlib import Path

from schemas.topics import FEATURE_ROW, FORECAST, FORECAST_SCORE
from streams.faust_app import run_stage
from streams.settings import Settings
from streams.stage import Checkpoint, Record

TOPICS = (FEATURE_ROW, FORECAST)


def chained(digest: str, offset: int, value: bytes) -> str:
    return hashlib.sha256(digest.encode() + b"%d" % offset + value).hexdigest()[:16]


class EchoStage:
    name = "score"
    topics = TOPICS

    async def started(self, outlet):
        self.outlet = outlet
        self.state = {}

    async def assigned(self, partition, checkpoint):
        fresh = {topic: [0, ""] for topic in self.topics}
        self.state[partition] = fresh if checkpoint is None else json.loads(checkpoint)
        return {topic: place for topic, (place, _) in self.state[partition].items()}

    def revoked(self, partition):
        del self.state[partition]

    async def process(self, message):
        place = self.state[message.partition][message.topic]
        if place[0] != message.offset:
            raise AssertionError(f"expected {place[0]}, got {message.offset}")
        await self.obey(message)
        place[:] = [message.offset + 1, chained(place[1], message.offset, message.value)]
        value = json.dumps([message.topic, message.offset, place[1]]).encode()
        self.outlet.emit(message.partition, Record(FORECAST_SCORE, None, value, partition=message.partition))

    async def obey(self, message):
        word, _, rest = message.value.partition(b" ")
        if word == b"gate":
            Path(rest.decode()).with_suffix(".reached").touch()
            while not Path(rest.decode()).exists():  # noqa: ASYNC110, ASYNC240 - another process opens it
                await asyncio.sleep(0.05)
        elif word == b"block":
            await asyncio.Event().wait()
        elif word == b"fail":
            raise ValueError("told to fail")
        elif word == b"hold":
            place = (message.topic, message.partition)
            self.outlet.hold(*place)
            asyncio.get_running_loop().call_later(float(rest), self.outlet.release, *place)

    def checkpoint(self, partition):
        state = self.state[partition]
        # Padded over two chunks, so that a kill can fall between them.
        blob = json.dumps(state).encode() + b" " * 700_000
        return Checkpoint({topic: place for topic, (place, _) in state.items()}, blob)

    async def stopped(self):
        pass


if __name__ == "__main__":
    sys.exit(run_stage(Settings.from_environment(), EchoStage()))
