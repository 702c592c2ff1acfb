import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from schemas import DecodeError, ForeshockError
from schemas.topics import RAW_EXCHANGE
from streams.sources import RawMessage, merge
from streams.sources.captures import find_captures

T0 = 1_721_347_200_000_000_000


def tick_lines(*times, symbol="btcusdt"):
    return b"".join(b'%d {"stream":"%s@trade","data":{}}\n' % (time, symbol.encode()) for time in times)


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def read(*paths):
    return list(find_captures(paths).messages())


def test_ticks_become_raw_messages_with_their_bytes_untouched(tmp_path):
    path = write(tmp_path / "usdm" / "btcusdt_20240719.gz", tick_lines(T0, T0 + 1))
    frame = b'{"stream":"btcusdt@trade","data":{}}'
    assert read(path) == [
        RawMessage(RAW_EXCHANGE, b"binance-usdm/btcusdt", frame, "binance-usdm", "binance-combined", time)
        for time in (T0, T0 + 1)
    ]


def test_receive_times_in_microseconds_are_told_by_their_digits(tmp_path):
    path = write(tmp_path / "spot" / "btcusdt_20230405.dat.gz", tick_lines(1_680_652_800_004_107))
    (message,) = read(path)
    assert (message.receive_time_ns, message.source) == (1_680_652_800_004_107_000, "binance")


def test_a_snapshot_of_a_book_comes_with_the_question_that_it_answers(tmp_path):
    snapshot = b'{"lastUpdateId": 1, "bids": [], "asks": []}'
    path = write(tmp_path / "usdm" / "btcusdt_1.gz", b"%d %s\n" % (T0, snapshot))
    asked = b'{"url":"https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT","data":%b}' % snapshot
    assert [(m.value, m.format) for m in read(path)] == [(asked, "binance-combined")]


def test_two_runs_follow_each_other_and_instruments_are_interleaved(tmp_path):
    write(tmp_path / "usdm" / "btcusdt_1.gz", tick_lines(T0, T0 + 20))
    write(tmp_path / "usdm" / "btcusdt_0.gz", tick_lines(T0 + 100, T0 + 120))
    write(tmp_path / "usdm" / "ethusdt_1.gz", tick_lines(T0 + 10, T0 + 110, symbol="ethusdt"))
    write(tmp_path / "LICENSE", b"free")
    messages = read(tmp_path)
    assert [m.receive_time_ns - T0 for m in messages] == [0, 10, 20, 100, 110, 120]
    assert [m.key[-7:-4] for m in messages] == [b"btc", b"eth", b"btc", b"btc", b"eth", b"btc"]


def test_a_file_named_twice_is_read_once(tmp_path):
    path = write(tmp_path / "usdm" / "btcusdt_1.gz", tick_lines(T0))
    assert len(read(tmp_path, path)) == 1


def test_a_clock_that_steps_back_keeps_the_order_of_its_connection():
    def message(key, time):
        return RawMessage(RAW_EXCHANGE, key, b"", "v", "f", time)

    back = [message(b"a", 10), message(b"a", 4), message(b"a", 12)]
    other = [message(b"b", 5), message(b"b", 11)]
    merged = list(merge([back, other]))
    assert [(m.key, m.receive_time_ns) for m in merged] == [(b"b", 5), (b"a", 10), (b"a", 4), (b"b", 11), (b"a", 12)]


def test_a_packed_file_that_is_cut_off_is_named_with_its_last_line(tmp_path):
    whole = gzip.compress(b"".join(tick_lines(T0 + i) for i in range(10_000)))
    path = tmp_path / "usdm" / "btcusdt_1.gz"
    path.parent.mkdir()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DecodeError, match=r"btcusdt_1\.gz:\d+ \$: the file is cut off or damaged after this line"):
        read(path)


def test_a_cut_off_last_line_is_named(tmp_path):
    path = write(tmp_path / "usdm" / "btcusdt_1.txt", tick_lines(T0, T0 + 1)[:-10])
    with pytest.raises(DecodeError, match=r"btcusdt_1\.txt:2 \$: the file is cut off in this line"):
        read(path)


def test_a_whole_last_line_needs_no_line_end(tmp_path):
    assert len(read(write(tmp_path / "usdm" / "btcusdt_1.txt", tick_lines(T0, T0 + 1)[:-1]))) == 2


@pytest.mark.parametrize("line", [b'12 {"stream"}\n', b"\n", b"hello\n", b'1721347200000000000{"a":1}\n'])
def test_a_line_without_a_receive_time_is_named(tmp_path, line):
    path = write(tmp_path / "usdm" / "btcusdt_1.gz", tick_lines(T0) + line)
    with pytest.raises(DecodeError, match=r"btcusdt_1\.gz:2 \$: expected a receive time in ns or us and a frame"):
        read(path)


def test_ticks_in_an_unknown_folder_are_asked_about(tmp_path):
    path = write(tmp_path / "futures" / "btcusdt_1.gz", tick_lines(T0))
    with pytest.raises(ForeshockError, match="expected spot, usdm, coinm, got 'futures'"):
        read(path)


def test_an_unknown_file_is_an_error_that_says_what_is_known(tmp_path):
    path = write(tmp_path / "prices.csv", b"a,b\n1,2\n")
    with pytest.raises(
        ForeshockError, match=r"prices\.csv: not a capture of a known kind; known are bars .*, Binance ticks"
    ):
        read(tmp_path)
    with pytest.raises(ForeshockError, match="no such file or folder"):
        read(path.with_name("nothing"))
    with pytest.raises(ForeshockError, match="no capture to read in no path"):
        read()


def cryptofeed_lines(exchange, *records):
    header = {"t": "header", "format": 2, "exchange": exchange, "config": {}}
    return b"".join(json.dumps(record).encode() + b"\n" for record in (header, *records))


def received(conn, time, **data):
    return {"t": "recv", "conn": conn, "ts": time, **data}


def test_a_stream_whose_frames_do_not_say_their_market_is_told_by_its_address(tmp_path):
    lines = cryptofeed_lines(
        "BYBIT",
        {"t": "connect", "conn": "b.1", "ts": 1.0, "addr": "wss://stream.bybit.com/v5/public/linear"},
        {"t": "connect", "conn": "b.2", "ts": 1.0, "addr": "wss://stream.bybit.com/v5/public/spot"},
        received("b.1", 2.0, data="{}"),
        received("b.2", 3.0, data="{}"),
    )
    path = tmp_path / "BYBIT.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(lines))
    assert [(m.source, m.format, m.key) for m in read(path)] == [
        ("bybit", "bybit-websocket", b"bybit/b.1"),
        ("bybit-spot", "bybit-websocket", b"bybit/b.2"),
    ]


def test_cryptofeed_captures_are_put_in_order_and_keep_their_bytes(tmp_path):
    lines = cryptofeed_lines(
        "KRAKEN",
        {"t": "http", "conn": "k.http", "ts": 1.0, "url": "u", "data": "{}"},
        received("k.1", 2.5, data="[1]"),
        received("k.1", 4.25, b64="/w=="),
        received("k.2", 3.000001, data='{"ü":1}'),
    )
    path = tmp_path / "KRAKEN.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(lines))
    assert [(m.key, m.value, m.receive_time_ns, m.format, m.source) for m in read(path)] == [
        # what REST answered goes the way of the stream, with the question
        (b"kraken/k.1", b'{"url":"u","data":{}}', 1_000_000_000, "kraken-websocket", "kraken"),
        (b"kraken/k.1", b"[1]", 2_500_000_000, "kraken-websocket", "kraken"),
        (b"kraken/k.2", '{"ü":1}'.encode(), 3_000_001_000, "kraken-websocket", "kraken"),
        (b"kraken/k.1", b"\xff", 4_250_000_000, "kraken-websocket", "kraken"),
    ]


@pytest.mark.parametrize(
    ("exchange", "source"),
    [("BINANCE", "binance"), ("BINANCE_FUTURES", "binance-usdm"), ("BINANCE_DELIVERY", "binance-coinm")],
)
def test_binance_frames_of_cryptofeed_keep_their_own_format(tmp_path, exchange, source):
    path = write(tmp_path / "b.jsonl", cryptofeed_lines(exchange, received("c", 1.5, data="{}")))
    assert [(m.source, m.format) for m in read(path)] == [(source, "binance-combined")]


def test_a_strange_line_of_a_cryptofeed_capture_is_named(tmp_path):
    path = write(tmp_path / "b.jsonl", cryptofeed_lines("KRAKEN", {"t": "lost", "ts": 1.0}))
    with pytest.raises(DecodeError, match=r"b\.jsonl:2 \$: expected one of"):
        read(path)


def bar_file(path, starts_ms, close=2.0):
    columns = {name: [close] * len(starts_ms) for name in ("open", "high", "low", "close", "volume")}
    date = pa.array(starts_ms, pa.timestamp("ms", "UTC"))
    pq.write_table(pa.table({"date": date, **columns}), path)
    return path


def test_bars_are_received_50_ms_after_their_end(tmp_path):
    path = bar_file(tmp_path / "binance_spot_BTC_5m.parquet", [1_672_531_200_000])
    (message,) = read(path)
    assert json.loads(message.value) == {
        "instrument_id": "binance:BTC-USDT",
        "interval": "5m",
        "start_time_ns": 1_672_531_200_000_000_000,
        **dict.fromkeys(("open", "high", "low", "close", "volume"), 2.0),
    }
    assert message.receive_time_ns == 1_672_531_500_050_000_000
    assert (message.key, message.source, message.format) == (b"binance/BTC-USDT/5m", "binance", "bars")


def test_bars_of_futures_belong_to_perpetuals(tmp_path):
    (message,) = read(bar_file(tmp_path / "binance_futures_ETH_1m.parquet", [0]))
    assert b'"binance-usdm:ETH-USDT-PERP"' in message.value
    assert message.receive_time_ns == 60_050_000_000


def test_funding_and_mark_files_are_left_out_by_name(tmp_path):
    bar_file(tmp_path / "binance_spot_BTC_5m.parquet", [0])
    funding = bar_file(tmp_path / "binance_funding_rate_BTC_8h.parquet", [0])
    captures = find_captures([tmp_path])
    assert captures.left_out == {funding: "funding_rate files are not read, only bars of spot and futures"}
    with pytest.raises(ForeshockError, match="funding_rate files are not read"):
        find_captures([funding])


def test_a_bar_file_that_is_cut_off_is_named(tmp_path):
    path = bar_file(tmp_path / "binance_spot_BTC_5m.parquet", [0])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DecodeError, match=r"binance_spot_BTC_5m\.parquet:0 \$: not a whole bar file"):
        read(path)
