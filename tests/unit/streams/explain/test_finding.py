"""From an id to record, rows, tensors and bundle, on topics played by lists."""

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from schemas.errors import SettingsError, StateError
from schemas.forecasts import ExpertForecast, Forecast, ModelName, Receipt, encode_json
from schemas.rows import decode_rows
from schemas.rules import SECOND_NS
from schemas.topics import FEATURE_ROW, FORECAST
from streams.explain import finding
from streams.infer.window import Window
from streams.receipts import find_forecast, parse_id, rows_behind
from tests.unit.streams.infer.infer_cases import FEATURES, INTERVALS, SHAPE, T0, row_message
from tests.unit.streams.played_log import PlayedLog
from triton_models.bundle import read
from triton_models.export import REPOSITORY, versions

BTC = "binance:BTC-USDT"
SPEC = SimpleNamespace(
    features=FEATURES, modalities=SHAPE.modalities, intervals=INTERVALS, row_interval_ns=SECOND_NS, scaling=()
)


def forecast(second, *, instrument=BTC, status="model", rows=(0, 0), digest="", experts=None):
    return Forecast(
        id=f"{instrument}@{T0 + second * SECOND_NS}",
        instrument_id=instrument,
        origin_time_ns=T0 + second * SECOND_NS,
        status=status,
        reason="" if status == "model" else "no answer within the deadline",
        horizons={},
        model=ModelName(name="combined", version="1", hash="h"),
        feature_set_id="f",
        valid_until_ns=0,
        experts=experts or {},
        receipt=Receipt(rows=[(FEATURE_ROW, 2, *rows)], features_hash=digest, batch=(16, 0)),
    )


def topics(forecasts, rows=()):
    return PlayedLog(2, **{FORECAST: [encode_json(each) for each in forecasts], FEATURE_ROW: list(rows)})


def test_a_forecast_is_found_without_reading_all():
    log = topics([forecast(second) for second in range(20_000)])
    found = find_forecast(log, BTC, T0 + 13_579 * SECOND_NS)
    assert found.origin_time_ns == T0 + 13_579 * SECOND_NS
    assert log.been_read < 2_500


def test_the_first_record_of_an_id_is_the_forecast():
    first, repeat = forecast(5, digest="first"), forecast(5, digest="repeat")
    log = topics([*(forecast(second) for second in range(5)), first, forecast(6), repeat, forecast(7)])
    assert find_forecast(log, BTC, T0 + 5 * SECOND_NS).receipt.features_hash == "first"


def test_what_is_not_there_is_told_in_a_line():
    log = topics([forecast(second) for second in range(100, 300)])
    with pytest.raises(StateError, match=r"@\d+: not on forecast.volatility.v1\[2\]; no such forecast was made"):
        find_forecast(log, BTC, T0 + 999 * SECOND_NS)
    with pytest.raises(StateError, match=r"the topic begins with binance:BTC-USDT@\d+: it is expired, or never was"):
        find_forecast(log, BTC, T0 + 5 * SECOND_NS)
    with pytest.raises(SettingsError, match=r"'BTC': expected instrument_id@origin_time_ns"):
        parse_id("BTC")
    with pytest.raises(SettingsError, match="expected instrument_id@origin_time_ns"):
        parse_id(f"{BTC}@{'1' * 5000}")
    with pytest.raises(StateError, match="there is no such topic; `foreshock run` creates it"):
        find_forecast(PlayedLog(2), BTC, T0)


def test_rows_of_the_receipt_make_the_tensors_that_infer_saw():
    messages = [row_message(second, variance=1e-6 * (1 + second)) for second in range(12)]
    rows = [(offset, decode_rows(value)) for offset, value in enumerate(messages)]
    live = Window(SHAPE)
    for offset, each in rows[:10]:
        live.push(each, offset)
    seen, digest = finding.tensors_at(rows, SPEC, BTC, T0 + 9 * SECOND_NS)
    assert digest == live.tensors((BTC,)).digest(0)
    assert seen.features[-1, 0] == np.float32(1e-5)
    first, last = live.offsets
    assert finding.tensors_at(rows[first : last + 1], SPEC, BTC, T0 + 9 * SECOND_NS)[1] == digest
    assert finding.tensors_at(rows[first + 1 :], SPEC, BTC, T0 + 9 * SECOND_NS)[1] != digest
    with pytest.raises(StateError, match="has no row of it at that time"):
        finding.tensors_at(rows, SPEC, "binance:ETH-USDT", T0 + 9 * SECOND_NS)


def test_expired_rows_are_told():
    log = topics([], [row_message(second) for second in range(40)])
    log.low[FEATURE_ROW] = 7
    with pytest.raises(StateError, match=r"its rows are expired; feature.row.v1\[2\] begins at 7, they at 3"):
        list(rows_behind(log, forecast(20, rows=(3, 6))))
    behind = [offset for offset, _ in rows_behind(log, forecast(20, rows=(20, 23)), 5)]
    assert behind == list(range(10, 24))


def test_rows_of_another_log_are_told():
    log = topics([], [row_message(second) for second in range(40)])
    with pytest.raises(StateError, match=r"row.v1\[2\] ends at 40, its rows at 41; is this the log that it is from\?"):
        list(rows_behind(log, forecast(20, rows=(38, 41))))
    with pytest.raises(StateError, match=r"its receipt names no rows of feature.row.v1"):
        list(rows_behind(log, forecast(20, rows=(9, 3))))


def test_a_row_that_cannot_be_read_is_left_out_as_infer_does():
    log = topics([], [row_message(0), b"no row", row_message(2)])
    assert [offset for offset, _ in rows_behind(log, forecast(2, rows=(0, 2)))] == [0, 2]


def test_rows_that_are_not_those_of_the_receipt_are_told(monkeypatch):
    told = forecast(20, rows=(17, 20), digest="0123456789abcdef")
    log = topics([told], [row_message(second) for second in range(40)])
    monkeypatch.setattr(finding, "LogReader", lambda _: log)
    monkeypatch.setattr(finding, "bundle_of", lambda *_: SimpleNamespace(spec=SPEC))
    settings = SimpleNamespace(profile="ticks")
    with pytest.raises(StateError, match="the receipt says 0123456789ab"):
        finding.find(settings, told.id, "performer", 0, REPOSITORY)
    seen = finding.tensors_at([(o, decode_rows(row_message(o))) for o in range(17, 21)], SPEC, BTC, told.origin_time_ns)
    good = msgspec.structs.replace(told, receipt=msgspec.structs.replace(told.receipt, features_hash=seen[1]))
    log = topics([good], [row_message(second) for second in range(40)])
    found = finding.find(settings, told.id, "performer", 5 * SECOND_NS, REPOSITORY)
    assert found.seen.features.tobytes() == seen[0].features.tobytes()
    assert found.before is not None


def test_a_bundle_is_that_of_the_record_or_none():
    bundle = read(versions(REPOSITORY / "performer-ticks")[0])
    experts = {name: ExpertForecast(weight=0.5, hash=bundle.hash) for name in ("har", "performer")}
    good = forecast(1, experts=experts)
    assert finding.bundle_of(good, "performer", "ticks", REPOSITORY).hash == bundle.hash
    with pytest.raises(SettingsError, match="--expert: expected one of performer behind it, got 'lstm'"):
        finding.bundle_of(good, "lstm", "ticks", REPOSITORY)
    other = forecast(1, experts={"performer": ExpertForecast(weight=1.0, hash="ab" * 32)})
    with pytest.raises(StateError, match="performer abababababab made it, which is not in"):
        finding.bundle_of(other, "performer", "ticks", REPOSITORY)
    with pytest.raises(StateError, match=r"no network made it: status fallback \(no answer within the deadline\)"):
        finding.bundle_of(forecast(1, status="fallback"), "performer", "ticks", REPOSITORY)
