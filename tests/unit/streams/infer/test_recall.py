"""What infer reads of its own past when it takes a partition over."""

import logging
from types import SimpleNamespace

from schemas.topics import CALIBRATION, FORECAST, FORECAST_LATEST
from streams.infer import stage
from streams.infer.stage import InferStage
from streams.settings import Settings
from streams.stage import Message
from tests.unit.streams.infer.infer_cases import answer, forecaster, row_message


def written():
    one = forecaster()
    one.take_row(7, row_message(0))
    batch = one.next_batch()
    return next(record.value for record in one.settle(batch, answer(batch)) if record.topic == FORECAST)


def test_a_damaged_record_in_our_own_output_is_left_out_and_said(monkeypatch, caplog):
    values = {CALIBRATION: [b"{damaged"], FORECAST: [b"\xff", written()]}
    monkeypatch.setattr(
        stage,
        "read_topic",
        lambda _settings, topic, **_: [
            Message(topic, 0, offset, None, {}, value, 0) for offset, value in enumerate(values[topic])
        ],
    )
    infer = InferStage()
    infer._outlet = SimpleNamespace(settings=Settings())
    state = stage._Partition(forecaster())
    with caplog.at_level(logging.WARNING):
        found = infer._recall(0, state)
    assert (state.calibration_offset, state.forecaster.output_offset, state.forecaster.rewind) == (1, 2, 7)
    assert [line.split(" ")[2] for line in caplog.messages] == [f"{CALIBRATION}[0]@0", f"{FORECAST}[0]@0"]
    # A crash may have come between the forecast and its copy for the topic of the latest ones.
    assert [(record.topic, record.value) for record in found] == [(FORECAST_LATEST, values[FORECAST][1])]
    assert infer._recall(0, state) == []
