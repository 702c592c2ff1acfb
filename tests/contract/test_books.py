"""Order books of the real captures: equal to the venue's own best quotes, and honest about planted faults."""

import json
import re
from typing import get_args

import msgspec
import pandas as pd
import pytest
from typer.testing import CliRunner

from schemas import TICKS
from schemas.rows import QUALITY
from schemas.rules import SECOND_NS
from schemas.topics import EXCHANGE_EVENT, RAW_EXCHANGE
from streams.backfill import backfill_messages
from streams.cli import app
from streams.commands.books import _lines as command_lines
from streams.ingest.book import Problem, Standing
from streams.ingest.normaliser import Normaliser
from streams.ingest.rebuild import Account, Rebuilt, rebuild
from streams.ingest.state import NormaliserState
from streams.sources.captures import find_captures
from tests.unit.streams.ingest.canonical import content

TICKS_FOLDER = "ticks_binance_hftbacktest"
CRYPTOFEED = "ws_captures_cryptofeed"
BTC = "binance-usdm:BTC-USDT-PERP"
WRONG = ("gaps", "resets", "checksums", "crossed", "ranges", "different")


def test_the_books_of_all_binance_captures_equal_the_tickers_of_the_same_updates(captures):
    files = [captures / TICKS_FOLDER, *sorted((captures / CRYPTOFEED).glob("BINANCE*"))]
    done = CliRunner().invoke(app, ["books", "--json", *map(str, files)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rebuilt = json.loads(done.stdout)
    accounts = {account["instrument_id"]: account for account in rebuilt["accounts"]}
    assert rebuilt["unreadable"] == {}
    assert {name: sum(account[name] for account in accounts.values()) for name in WRONG} == dict.fromkeys(WRONG, 0)
    spot = accounts.pop("binance:BTC-USDT")
    # No snapshot was recorded: nothing may be said of this book.
    assert (spot["standing"], spot["frames"], spot["waiting"], spot["depths"]) == ("unknown", 3_929, 3_929, 0)
    assert {account["standing"] for account in accounts.values()} == {"known"}
    assert {name: accounts[name]["equal"] for name in (BTC, "binance-usdm:ETH-USDT-PERP")} == {
        BTC: 2_190,
        "binance-usdm:ETH-USDT-PERP": 834,
    }
    assert sum(account["equal"] for account in accounts.values()) == 3_370
    by_venue = pd.DataFrame(rebuilt["accounts"]).groupby("venue").equal.sum()
    assert (by_venue > 0).to_dict() == dict.fromkeys(("binance", "binance-coinm", "binance-us", "binance-usdm"), True)
    for account in accounts.values():
        taken = ("snapshots", "changes", "repeats", "waiting", "not_used")
        assert account["frames"] == sum(account[name] for name in taken)


def test_the_command_says_the_same_in_words(captures):
    path = captures / CRYPTOFEED / "BINANCE_US.jsonl.zst"
    done = CliRunner().invoke(app, ["books", str(path)], catch_exceptions=False)
    assert done.exit_code == 0
    said = "340 frames: 4 snapshots, 332 changes, 4 waiting; 0 gaps; 229 Depth; 57 of 57 tickers equal"
    assert re.sub(r" +", " ", done.stdout.splitlines()[-1]) == f"4 books {said}"


@pytest.fixture
def told_by_help():
    """The words that `foreshock books --help` explains."""
    done = CliRunner().invoke(app, ["books", "--help"], env={"COLUMNS": "80"}, catch_exceptions=False)
    assert done.exit_code == 0
    return {line.strip().partition("  ")[0] for line in done.stdout.splitlines()}


def test_the_help_explains_each_word_of_the_output(told_by_help):
    everything = dict.fromkeys((field.name for field in msgspec.structs.fields(Account) if field.type is int), 2)
    accounts = [Account(venue="v", instrument_id=word, standing=word, **everything) for word in get_args(Standing)]
    *lines, _ = command_lines(Rebuilt(accounts, {}))
    for account, line in zip(accounts, lines, strict=True):
        name, standing, said = re.split(r" +", line, maxsplit=2)
        words = re.findall(r"2 (?:of 2 )?([A-Za-z ]+)", said.removeprefix("2 frames: "))
        assert (name, standing, len(words)) == (account.instrument_id, account.standing, len(get_args(Problem)) + 7)
        assert {standing, *words} <= told_by_help


@pytest.fixture(scope="module")
def frames(captures):
    """40 s of Binance USD-M, from before the snapshot on."""
    path = captures / TICKS_FOLDER / "usdm" / "btcusdt_20240718.gz"
    messages = list(find_captures([path]).messages())
    return [each for each in messages if each.receive_time_ns < messages[0].receive_time_ns + 40 * SECOND_NS]


def is_depth(message):
    return b"@depth" in message.value[:40]


def nth_depth(frames, number):
    """The place of a depth frame, counted from 1."""
    return [place for place, message in enumerate(frames) if is_depth(message)][number - 1]


def with_value(message, value):
    return msgspec.structs.replace(message, value=value)


def snapshot_at(frames, place):
    """The answer of REST, had it been asked just before a frame: made from an undisturbed book."""
    normaliser = Normaliser(RAW_EXCHANGE, 0, TICKS)
    feed(normaliser, frames[:place])
    book = normaliser.books.get(BTC)
    sides = {name: [[repr(value) for value in level] for level in side.best(1000)] for name, side in sides_of(book)}
    answer = {"lastUpdateId": book.last, "E": book.time_ns // 1_000_000, "T": book.time_ns // 1_000_000, **sides}
    url = "https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    return with_value(frames[place], json.dumps({"url": url, "data": answer}, separators=(",", ":")).encode())


def sides_of(book):
    return (("bids", book.bids), ("asks", book.asks))


def feed(normaliser, messages, first=0):
    for offset, message in enumerate(messages, first):
        normaliser.feed(offset, message.key, message.value, message.headers())


def depths(messages):
    """{raw offset: Depth row} of all that is said of books."""
    normaliser = Normaliser(RAW_EXCHANGE, 0, TICKS)
    feed(normaliser, messages)
    outputs = [out for out in normaliser.flush() if out.topic == EXCHANGE_EVENT]
    logs = content((out.topic, out.partition, dict(out.headers), out.value) for out in outputs)
    return {row["raw_offset"]: row for log in logs.values() for row in log.get("depth", [])}


def drop(frames, place):
    """Return the frames without one, and where the next depth frame, the first wrong one, stands."""
    faulty = frames[:place] + frames[place + 1 :]
    return faulty, next(at for at in range(place, len(faulty)) if is_depth(faulty[at]))


def damage(frames, place):
    """A frame that nobody can read is a dead letter; the one behind it shows the gap."""
    faulty = [*frames[:place], with_value(frames[place], frames[place].value[:-20]), *frames[place + 1 :]]
    return faulty, next(at for at in range(place + 1, len(faulty)) if is_depth(faulty[at]))


def cross(frames, place):
    """An ask far below the best bid."""
    crossed = re.sub(rb'"a":\[', b'"a":[["60000.00","1.000"],', frames[place].value, count=1)
    return [*frames[:place], with_value(frames[place], crossed), *frames[place + 1 :]], place


@pytest.mark.parametrize(("fault", "reason"), [(drop, "gap"), (damage, "gap"), (cross, "crossed")])
def test_a_planted_fault_is_told_at_the_first_wrong_frame_until_the_next_snapshot(frames, fault, reason):
    clean = depths(frames)
    missing, *good = (clean[at] for at in sorted(clean))
    assert (missing["id"], missing["bid_prices"]) == ("missing", [])
    assert all(row["bid_prices"] for row in good)
    planted = nth_depth(frames, 200)
    faulty, wrong = fault(frames, planted)
    again = nth_depth(faulty, 400)
    shift = len(frames) - len(faulty)
    faulty.insert(again, snapshot_at(frames, again + shift))
    said = depths(faulty)
    # As if nothing were wrong before the fault; at the first wrong frame the marker; then nothing.
    assert {at: row for at, row in said.items() if at < wrong} == {at: row for at, row in clean.items() if at < planted}
    marker = said[wrong]
    assert marker["bid_prices"] == marker["bid_sizes"] == marker["ask_prices"] == marker["ask_sizes"] == []
    assert marker["id"] == reason
    assert not [at for at in said if wrong < at < again]
    # From the snapshot on the book is that of the undisturbed capture.
    assert said[again]["id"] == "snapshot"
    later = {row["sequence"]: row for at, row in said.items() if at > again}
    wanted = {row["sequence"]: row for at, row in clean.items() if at >= again + shift}
    shared = later.keys() & wanted.keys()
    assert len(shared) > 50
    levels = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
    assert all(later[each][name] == wanted[each][name] for each in shared for name in levels)


def test_without_its_snapshot_a_book_is_told_once_to_be_missing_and_nothing_else(frames):
    kept = [message for message in frames if b'"lastUpdateId"' not in message.value[:200]]
    assert len(kept) == len(frames) - 1
    ((at, said),) = depths(kept).items()
    assert (at, said["id"], said["bid_prices"], said["ask_prices"]) == (nth_depth(kept, 1), "missing", [], [])
    (account,) = rebuild(kept, TICKS).accounts
    assert (account.standing, account.waiting, account.depths) == ("unknown", account.frames, 0)


@pytest.mark.parametrize(
    ("name", "instrument", "pattern", "edited"),
    [
        # one digit of one size, in one update of a book with checksums
        ("OKX", "okx:BTC-USDT", rb'("action":"update".*?"bids":\[\["[0-9.]+","[0-9.]*)([0-9])"', b"7"),
        ("KRAKEN", "kraken:XMR-USD", rb'(\{"b":\[\["[0-9.]+","[0-9.]*)([0-8])"', b"9"),
    ],
)
def test_a_size_changed_on_its_way_fails_the_checksum_of_its_frame(captures, name, instrument, pattern, edited):
    (path,) = (captures / CRYPTOFEED).glob(f"{name}.jsonl*")
    messages = list(find_captures([path]).messages())
    place, changed = edited_frame(messages, instrument, re.compile(pattern), edited)
    faulty = [*messages[:place], with_value(messages[place], changed), *messages[place + 1 :]]
    # The connection is opened once more: its snapshots begin the books anew.
    last_ns = messages[-1].receive_time_ns
    again = [msgspec.structs.replace(each, receive_time_ns=last_ns + n) for n, each in enumerate(messages)]
    clean = {account.instrument_id: account for account in rebuild(messages, TICKS).accounts}
    broken = {account.instrument_id: account for account in rebuild(faulty, TICKS).accounts}
    renewed = {account.instrument_id: account for account in rebuild(faulty + again, TICKS).accounts}
    assert (clean[instrument].checksums, clean[instrument].standing) == (0, "known")
    assert (broken[instrument].checksums, broken[instrument].standing) == (1, "lost")
    assert renewed[instrument].standing == "known"
    assert {key: value for key, value in broken.items() if key != instrument} == {
        key: value for key, value in clean.items() if key != instrument
    }
    said = [row for at, row in sorted(depths(faulty).items()) if row["instrument_id"] == instrument]
    assert (said[-1]["id"], said[-1]["bid_prices"], said[-1]["raw_offset"]) == ("checksum", [], place)


def edited_frame(messages, instrument, pattern, digit):
    """The place of a frame in the middle that the pattern fits, and the frame with another digit there."""
    places = []
    symbol = re.compile(instrument.partition(":")[2].replace("-", "[-/]").encode())
    for place, message in enumerate(messages):
        match = pattern.search(message.value)
        if match and symbol.search(message.value) and match[2] != digit:
            places.append((place, match))
    place, match = places[len(places) // 2]
    value = messages[place].value
    return place, value[: match.start(2)] + digit + value[match.end(2) :]


def test_rows_say_book_gap_from_the_wrong_frame_to_the_next_snapshot(frames, tmp_path):
    faulty, wrong = drop(frames, nth_depth(frames, 200))
    again = nth_depth(faulty, 400)
    faulty.insert(again, snapshot_at(frames, again + 1))
    times = {at: json.loads(faulty[at].value)["data"]["T"] * 1_000_000 for at in (wrong, again)}
    backfill_messages(faulty, TICKS, rows=tmp_path / "rows.parquet")
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    rows = rows[rows.instrument_id == BTC].sort_values("row_time_ns")
    flagged = rows.row_time_ns[rows.quality.to_numpy() >> QUALITY.index("book-gap") & 1 == 1]
    # A row at t is of what came before t: the first border behind the fault, the last not behind the snapshot.
    expected = [t for t in rows.row_time_ns if times[wrong] < t <= times[again] // SECOND_NS * SECOND_NS]
    assert flagged.tolist() == expected
    assert len(expected) > 5


def test_books_go_on_over_a_restart_without_the_next_snapshot(frames):
    whole = Normaliser(RAW_EXCHANGE, 0, TICKS)
    feed(whole, frames)
    middle = len(frames) // 2
    first = Normaliser(RAW_EXCHANGE, 0, TICKS)
    feed(first, frames[:middle])
    first.flush()
    state = first.state().encode()
    second = Normaliser(RAW_EXCHANGE, 0, TICKS)
    second.restore(NormaliserState.decode(state))
    feed(second, frames[middle:], middle)
    for normaliser in (whole, second):
        normaliser.flush()
    assert second.state().encode() == whole.state().encode()
    assert len(state) < 20_000
