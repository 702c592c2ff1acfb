"""What is wrong with a book is said by the rows of its instrument and by their forecasts, as long as it is wrong."""

import json
import re

import msgspec
import pytest

from featurestore.backfill import backfill
from featurestore.catalogue import Catalogue
from schemas import TICKS
from schemas.forecasts import Forecast, decode_json
from schemas.rows import decode_rows, quality_names
from schemas.rules import SECOND_NS
from schemas.topics import FORECAST
from streams.backfill import Outcome, normalised, placed
from streams.infer.forecaster import Forecaster
from streams.infer.models import read_models
from streams.sources.captures import find_captures
from tests.contract.test_books import BTC, CRYPTOFEED, cross, drop, edited_frame, nth_depth, snapshot_at, with_value
from tests.contract.test_books import TICKS_FOLDER as BINANCE

OKX = "okx:BTC-USDT"


@pytest.fixture(scope="module")
def frames(captures):
    """30 s of Binance USD-M, from before the snapshot on."""
    messages = list(find_captures([captures / BINANCE / "usdm" / "btcusdt_20240718.gz"]).messages())
    return [each for each in messages if each.receive_time_ns < messages[0].receive_time_ns + 30 * SECOND_NS]


def flagged(messages, instrument):
    """(row time, whether the row says book-gap, whether the forecast made of it does) of an instrument."""
    models = read_models("ticks")
    catalogue = Catalogue.discover(TICKS)
    canonical = list(normalised(placed(messages, TICKS), TICKS, Outcome()))
    forecaster, said, told = Forecaster(models), {}, {}
    for offset, output in enumerate(backfill(canonical, TICKS, catalogue)):
        rows = decode_rows(output.value)
        if instrument not in rows.instruments:
            continue
        bits = int(rows.quality[rows.instruments.index(instrument)])
        said[rows.header.row_time_ns] = "book-gap" in quality_names(bits)
        forecaster.take_row(offset, output.value)
    while (batch := forecaster.next_batch()) is not None:
        for record in forecaster.settle(batch, {}, "no network is asked here"):
            forecast = decode_json(record.value, Forecast) if record.topic == FORECAST else None
            if forecast is not None and forecast.instrument_id == instrument:
                told[forecast.origin_time_ns] = "book-gap" in forecast.quality
    return said, told


def later(message, shift_ns):
    """The same frame of OKX later, by its venue's clock and by ours."""
    value = re.sub(rb'(?<="ts":")\d+', lambda found: b"%d" % (int(found[0]) + shift_ns // 1_000_000), message.value)
    return msgspec.structs.replace(message, receive_time_ns=message.receive_time_ns + shift_ns, value=value)


def time_ns(message):
    return json.loads(message.value)["data"]["T"] * 1_000_000


@pytest.mark.parametrize("fault", [drop, cross])
def test_a_gap_and_a_crossed_book_are_told_until_the_next_snapshot(frames, fault):
    faulty, wrong = fault(frames, nth_depth(frames, 100))
    again = nth_depth(faulty, 220)
    faulty.insert(again, snapshot_at(frames, again + len(frames) - len(faulty)))
    begin, end = time_ns(faulty[wrong]), time_ns(faulty[again]) // SECOND_NS * SECOND_NS
    said, told = flagged(faulty, BTC)
    assert [t for t, gap in said.items() if gap] == [t for t in said if begin < t <= end]
    assert 5 < sum(said.values()) < len(said)
    assert told == said


def test_a_missing_snapshot_is_told_until_one_comes(frames):
    first = next(place for place, message in enumerate(frames) if b'"lastUpdateId"' in message.value[:200])
    faulty = frames[:first] + frames[first + 1 :]
    again = nth_depth(faulty, 120)
    faulty.insert(again, snapshot_at(frames, again + 1))
    begin, end = time_ns(faulty[nth_depth(faulty, 1)]), time_ns(faulty[again]) // SECOND_NS * SECOND_NS
    said, told = flagged(faulty, BTC)
    assert [t for t, gap in said.items() if gap] == [t for t in said if begin < t <= end]
    assert 5 < sum(said.values()) < len(said)
    assert told == said


def test_a_failed_checksum_is_told_until_the_connection_is_opened_again(captures):
    (path,) = (captures / CRYPTOFEED).glob("OKX.jsonl*")
    messages = list(find_captures([path]).messages())
    pattern = re.compile(rb'("action":"update".*?"bids":\[\["[0-9.]+","[0-9.]*)([0-9])"')
    place, changed = edited_frame(messages, OKX, pattern, b"7")
    faulty = [*messages[:place], with_value(messages[place], changed), *messages[place + 1 :]]
    again = [later(message, messages[-1].receive_time_ns - messages[0].receive_time_ns) for message in messages]
    said, told = flagged([*faulty, *again], OKX)
    gaps = [t for t, gap in said.items() if gap]
    assert gaps
    assert gaps[0] - messages[place].receive_time_ns <= 2 * SECOND_NS
    assert not said[max(said)]
    assert told == said
