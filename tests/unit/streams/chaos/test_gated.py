import asyncio

from streams.chaos.gated import Gate, gated
from streams.stage import Message

RECORD = Message("feature.row.v1", 2, 5, None, {}, b"", 0)


class Taker:
    def __init__(self):
        self.taken = []

    async def process(self, message):
        self.taken.append(message.offset)


def test_a_stage_waits_at_a_closed_gate_and_goes_on_when_it_is_opened(tmp_path):
    gate = Gate(tmp_path, "feature.row.v1", 2, 5)
    gate.close()

    async def take():
        stage = gated(Taker(), tmp_path)
        await stage.process(RECORD._replace(offset=4))
        under_way = asyncio.create_task(stage.process(RECORD))
        while not gate.is_reached:  # noqa: ASYNC110 - a file is what a process leaves
            await asyncio.sleep(0.01)
        assert stage.taken == [4]
        gate.open()
        await under_way
        return stage.taken

    assert asyncio.run(take()) == [4, 5]


def test_what_has_no_gate_is_taken_at_once(tmp_path):
    stage = gated(Taker(), tmp_path / "none")
    asyncio.run(stage.process(RECORD))
    assert stage.taken == [5]
    assert not Gate(tmp_path, "feature.row.v1", 2, 5).is_reached
