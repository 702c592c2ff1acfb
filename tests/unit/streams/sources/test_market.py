import hashlib
import itertools
import json
import re
from collections import Counter

import numpy as np
import pytest
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from schemas import ForeshockError
from schemas.rules import SECOND_NS
from schemas.topics import RAW_EXCHANGE, RAW_ONCHAIN, RAW_SENTIMENT
from streams.formats import formats
from streams.sources.market import INSTRUMENTS, market, truth
from streams.sources.market.news import MOODS

START = 1_750_000_000 * SECOND_NS
PERPETUAL = "binance-usdm:BTC-USDT-PERP"


@pytest.fixture(scope="module")
def minutes():
    return list(market(11, START, 300))


def digest(messages):
    digest = hashlib.sha256()
    for m in messages:
        digest.update(b"|".join((m.topic.encode(), m.key, m.value, b"%d" % m.receive_time_ns)))
    return digest.hexdigest()[:16]


def test_a_seed_gives_the_same_bytes():
    first = list(itertools.islice(market(7, START, 120), 5_000))
    assert digest(first) == "2600f3ee97d8287c"
    assert digest(itertools.islice(market(8, START, 120), 5_000)) != digest(first)


def test_messages_come_by_receive_time_within_the_seconds_asked_for(minutes):
    times = [m.receive_time_ns for m in minutes]
    assert times == sorted(times)
    assert times[0] >= START
    assert times[-1] < START + 310 * SECOND_NS
    assert max(times) > START + 299 * SECOND_NS


def test_a_shorter_market_is_the_beginning_of_a_longer_one(minutes):
    short = list(market(11, START, 100))
    cut = START + 100 * SECOND_NS
    assert [m for m in short if m.receive_time_ns < cut] == [m for m in minutes if m.receive_time_ns < cut]


def test_all_venues_instruments_and_topics_take_part(minutes):
    assert {m.topic for m in minutes} == {RAW_EXCHANGE, RAW_ONCHAIN, RAW_SENTIMENT}
    exchange = {m.key.decode().replace("/", ":") for m in minutes if m.topic == RAW_EXCHANGE}
    assert exchange == {each.instrument_id for each in INSTRUMENTS}
    assert len({each.venue for each in INSTRUMENTS}) >= 3
    assert len({each.asset for each in INSTRUMENTS}) >= 3


def test_every_frame_is_json_of_its_feed(minutes):
    shapes = {
        "binance": ({"u", "s", "b", "B", "a", "A"}, {"e", "E", "T", "s", "t", "p", "q", "m", "M"}),
        "coinbase": (
            {"exchange", "symbol", "bid_price", "bid_size", "ask_price", "ask_size", "timestamp", "receipt_timestamp"},
            {"exchange", "symbol", "side", "amount", "price", "id", "type", "timestamp", "receipt_timestamp"},
        ),
    }
    seen = {venue: set() for venue in shapes}
    for message in minutes:
        record = json.loads(message.value)
        if message.source in shapes:
            fields = frozenset(record.get("data", record))
            assert set(fields) in shapes[message.source]
            seen[message.source].add(fields)
    assert all(len(kinds) == 2 for kinds in seen.values())


def mids(messages, seconds):
    """Return the perpetual's mid at the end of each second, by its event times."""
    last = np.full(seconds, np.nan)
    for message in messages:
        if message.key == b"binance-usdm/BTC-USDT-PERP" and b"bookTicker" in message.value:
            quote = json.loads(message.value)["data"]
            second = (quote["T"] * 1_000_000 + 2_000_000 - START) // SECOND_NS
            last[second] = (float(quote["b"]) + float(quote["a"])) / 2
    for second in range(1, seconds):
        last[second] = last[second - 1] if np.isnan(last[second]) else last[second]
    return last


def test_realised_variance_of_the_quotes_is_the_true_variance():
    seconds = 3_600
    returns = np.diff(np.log(mids(market(5, START, seconds, instruments=(INSTRUMENTS[1],)), seconds)))
    true = truth(5, START, seconds).variance[1:, 0]
    keep = np.isfinite(returns)
    # 3,600 squared returns: the ratio has a standard error of about 3 %, and quotes add a little noise.
    assert (returns[keep] ** 2).sum() / true[keep].sum() == pytest.approx(1.0, abs=0.15)
    minutes = np.nansum((returns[:3_540] ** 2).reshape(59, 60), axis=1)
    assert np.corrcoef(np.log(minutes), np.log(true[:3_540].reshape(59, 60).sum(1)))[0, 1] > 0.75


def test_prices_do_not_depend_on_intensity_or_on_other_instruments(minutes):
    alone = list(market(11, START, 300, instruments=(INSTRUMENTS[1],)))
    key = b"binance-usdm/BTC-USDT-PERP"
    assert [m for m in alone if m.key == key] == [m for m in minutes if m.key == key]
    sparse = mids(market(11, START, 300, instruments=(INSTRUMENTS[1],), intensity=0.3), 300)
    gap = np.abs(np.log(sparse / mids(minutes, 300)))
    assert np.nanmedian(gap) < 2e-4


def test_intensity_scales_the_number_of_messages(minutes):
    sparse = list(market(11, START, 300, intensity=0.2))
    assert 0.15 < len(sparse) / len(minutes) < 0.3
    assert 1 < len(sparse) / 300 / len(INSTRUMENTS) < 6


@pytest.fixture(scope="module")
def day():
    return truth(3, START, 86_400)


def test_log_variance_is_rough(day):
    def structure(lag):
        return np.mean((day.market[lag:] - day.market[:-lag]) ** 2)

    hurst = np.log(structure(600) / structure(20)) / np.log(600 / 20) / 2
    assert 0.08 < hurst < 0.25


def test_assets_share_a_factor(day):
    correlation = np.corrcoef(np.log(day.variance).T)
    assert (correlation[np.triu_indices(3, 1)] > 0.4).all()


def test_causes_raise_the_variance_after_they_could_be_known(day):
    after, before = [], []
    for happening in day.happenings:
        column = 0 if happening.asset == "*" else day.assets.index(happening.asset)
        second = (happening.effect_ns - START) // SECOND_NS
        if not happening.jump or not 300 < second < 86_000:
            continue
        assert happening.time_ns <= happening.receive_ns < happening.effect_ns
        assert day.shocks[second, column] - day.shocks[second - 1, column] > 0.8 * happening.jump - 0.05
        before.append(np.log(day.variance[second - 60 : second, column]).mean())
        after.append(np.log(day.variance[second : second + 60, column]).mean())
    assert len(after) > 200
    assert np.mean(np.subtract(after, before)) > 0.3


def test_causes_are_posts_mints_and_inflows_and_most_messages_are_noise(day):
    causes = [h for h in day.happenings if h.jump]
    assert {h.mood or h.token for h in causes} == {"terrible", "great", "USDT", "USDC", "WETH", "WBTC"}
    assert len(causes) < 0.1 * len(day.happenings)


def test_vader_finds_the_mood_of_each_post():
    bounds = {"terrible": (-1, -0.9), "weak": (-0.5, -0.1), "plain": (0, 0), "solid": (0.1, 0.7), "great": (0.9, 1)}
    score = SentimentIntensityAnalyzer().polarity_scores
    for mood, texts in MOODS.items():
        low, high = bounds[mood]
        assert all(low <= score(text.format(asset=asset))["compound"] <= high for text in texts for asset in "ABC")


def test_truth_is_that_of_the_messages(minutes):
    happened = truth(11, START, 300).happenings
    posts = [json.loads(m.value)["text"] for m in minutes if m.topic == RAW_SENTIMENT]
    assert sorted(posts) == sorted(h.text for h in happened if h.mood)
    transfers = sum(m.topic == RAW_ONCHAIN for m in minutes)
    assert transfers == sum(bool(h.token) for h in happened)


def test_streams_stall_and_keep_their_order(minutes):
    ids = [
        int(m[1])
        for m in re.finditer(rb'BTCUSDT","t":(\d+)', b"".join(m.value for m in minutes if m.source == "binance-usdm"))
    ]
    assert ids == sorted(ids)
    delays = [
        m.receive_time_ns - json.loads(m.value)["data"]["T"] * 1_000_000
        for m in minutes
        if m.source == "binance-usdm" and b"markPrice" not in m.value
    ]
    assert np.median(delays) < 30e6
    assert max(delays) > 200e6


def test_nonsense_is_refused():
    with pytest.raises(ForeshockError, match="seconds and intensity above 0, got 0 and 1"):
        list(market(1, START, 0))
    with pytest.raises(ForeshockError, match=r"binance:BTC-USDT: its asset is none of"):
        list(market(1, START, 60, assets=()))


def test_every_message_can_be_read_and_says_what_truly_happened(minutes):
    decoders = formats()
    events = [event for m in minutes for event in decoders[m.format](m.value, m.source)]
    assert {event.record for event in events} == {"trade", "quote", "derivative", "flow", "score"}
    assert {e.instrument_id for e in events if e.record == "quote"} == {each.instrument_id for each in INSTRUMENTS}
    scored = Counter(e.instrument_id for e in events if e.record == "score")
    assert scored == Counter(h.asset for h in truth(11, START, 300).happenings if h.mood)
