"""A backfill in processes, on Dask, from stored tiles, with late events: the rows of one plain reading."""

import gzip
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import takewhile

import msgspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from featurestore.backfill import backfill, rows_table
from featurestore.catalogue import Catalogue
from schemas import TICKS
from schemas.errors import StateError
from schemas.rows import decode_rows
from schemas.rules import SECOND_NS
from streams import backfill as streams_backfill
from streams.backfill import (
    Outcome,
    backfill_tiles,
    canonical_from,
    jobs_of,
    normalised,
    placed,
    raw_spans,
    written,
)
from streams.backfill.compare import Scratch, compare
from streams.backfill.files import StoredTiles
from streams.backfill.late import EDGES_NS, LateLog, measured
from streams.backfill.report import tables
from streams.backfill.tasks import Inline, tile_spans
from streams.cli import app
from streams.sources import merge
from streams.sources.captures import find_captures
from streams.sources.market import market

CUT = ("usdm/btcusdt_20240718.gz", "usdm/ethusdt_20240718.gz")
EARLIER = ("usdm/btcusdt_20230404.dat.gz",)
LATE = "usdm/btcusdt_20230405.dat.gz"
CUT_SECONDS = 4


@pytest.fixture(scope="module")
def messages(captures):
    """The first seconds of recorded events, with posts, transfers and funding of the built-in market."""
    return cut_of(captures, CUT)


def cut_of(captures, names):
    # Of one run: rows would be listed for 15 minutes between two.
    recorded = find_captures([captures / "ticks_binance_hftbacktest" / name for name in names]).messages()
    first = next(recorded)
    begins, until = first.receive_time_ns, first.receive_time_ns + CUT_SECONDS * SECOND_NS
    inside = takewhile(lambda message: message.receive_time_ns < until, recorded)
    return list(merge([[first], inside, market(5, begins // SECOND_NS * SECOND_NS, CUT_SECONDS, intensity=0.2)]))


@pytest.fixture(scope="module")
def expected(messages):
    """{(partition, row time): message} of one plain reading in this process."""
    canonical = normalised(placed(messages, TICKS), TICKS, Outcome())
    found = {}
    for output in backfill(canonical, TICKS, Catalogue.discover(TICKS)):
        found[output.partition, decode_rows(output.value).header.row_time_ns] = output.value
    assert len(found) > 2 * CUT_SECONDS
    return found


@pytest.fixture
def short_spans(monkeypatch):
    monkeypatch.setattr(streams_backfill, "SPAN_RECORDS", 400)


def backfilled(messages, folder, executor):
    """Rows of a backfill, as a table in order of time; the file of tiles beside it."""
    jobs, outcome = jobs_of(TICKS), Outcome()
    canonical = canonical_from(raw_spans(placed(messages, TICKS), TICKS), TICKS, executor, outcome)
    files = {"tiles": folder / "tiles.parquet", "rows": folder / "rows.parquet"}
    written(tile_spans(canonical, jobs, executor), jobs, executor, outcome, progress=lambda _: None, **files)
    assert outcome.frames_in == len(messages)
    return ordered(files["rows"])


def ordered(path):
    return pq.read_table(path).sort_by([("row_time_ns", "ascending"), ("instrument_id", "ascending")])


def assert_same(table, expected):
    """Every value of every feature, every age and every quality bit, as bits."""
    wanted = rows_table([decode_rows(value) for value in expected.values()])
    wanted = wanted.sort_by([("row_time_ns", "ascending"), ("instrument_id", "ascending")])
    assert table.column_names == wanted.column_names
    assert table.equals(wanted)
    for name in set(wanted.column_names) - {"instrument_id", "row_time_ns", "quality"}:
        np.testing.assert_array_equal(bits(table, name), bits(wanted, name), err_msg=name)


def bits(table, name):
    """Numbers as bits: a negative zero is another number than zero."""
    return table.column(name).to_numpy(zero_copy_only=False).astype(float).view("i8")


def test_rows_of_any_executor_and_of_stored_tiles_are_those_of_one_reading(messages, expected, short_spans, tmp_path):
    assert_same(backfilled(messages, tmp_path, Inline()), expected)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        other = tmp_path / "processes"
        other.mkdir()
        assert_same(backfilled(messages, other, executor), expected)
    assert (other / "tiles.parquet").read_bytes() == (tmp_path / "tiles.parquet").read_bytes()
    backfill_tiles([tmp_path / "tiles.parquet"], TICKS, rows=tmp_path / "again.parquet")
    assert_same(ordered(tmp_path / "again.parquet"), expected)


@pytest.mark.filterwarnings("default")  # Dask's own
def test_rows_of_a_dask_cluster_are_those_of_one_reading(messages, expected, short_spans, tmp_path):
    from distributed import Client, LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(host="127.0.0.1", **options) as cluster, Client(cluster) as client:
        assert_same(backfilled(messages, tmp_path, client.get_executor()), expected)


def test_stored_tiles_of_other_code_or_rules_are_refused(messages, tmp_path):
    backfilled(messages[:300], tmp_path, Inline())
    path = tmp_path / "tiles.parquet"
    rules = msgspec.structs.replace(TICKS, listing_ns=1)
    with pytest.raises(StateError, match=r"its tiles have the rules .* use the settings"):
        backfill_tiles([path], rules)
    stored = StoredTiles([path])
    catalogue = Catalogue.discover(TICKS)
    stored._files[0][1].versions["trade_count"] = "other"
    with pytest.raises(StateError, match=r"stored tiles: trade_count is other there and .* in the code"):
        stored.require(TICKS, catalogue)
    with pytest.raises(StateError, match=r"no file of tiles that a backfill wrote \(Parquet of something else"):
        StoredTiles([tmp_path / "rows.parquet"])
    with pytest.raises(StateError, match="no such file"):
        StoredTiles([tmp_path / "none"])


def lateness(seconds):
    return msgspec.structs.replace(TICKS, allowed_lateness_ns=round(seconds * SECOND_NS))


def with_delays(messages):
    """Some messages reach us up to 2 s later than they did, behind those sent after them."""
    draw = np.random.default_rng(4)
    delays = np.where(draw.random(len(messages)) < 0.2, draw.uniform(0, 2e9, len(messages)), 0).astype(int).tolist()
    late = (
        msgspec.structs.replace(message, receive_time_ns=message.receive_time_ns + delay)
        for message, delay in zip(messages, delays, strict=True)
    )
    return sorted(late, key=lambda message: message.receive_time_ns)


def rows_with_late(messages, rules):
    """The report, and all rows with the late events in their tiles."""
    executor, jobs, log, outcome = Inline(), jobs_of(rules), LateLog(rules), Outcome()
    with Scratch() as scratch:
        spans = measured(raw_spans(placed(messages, rules), rules), rules, executor, log, outcome.account)
        quiet = {"tiles": None, "rows": None, "progress": lambda _: None}
        kept = tile_spans(scratch.keep(spans), jobs, executor)
        written(kept, jobs, executor, outcome, made_rows=scratch.keep_rows, **quiet)
        report = log.report(compare(scratch, log.held(), jobs, executor, lambda _: None))
        with_late = tile_spans(scratch.messages(), jobs, executor, log.held())
        return report, frame_of(with_late, jobs), outcome


def frame_of(spans, jobs):
    tables_of = []

    def keep(made):
        tables_of.extend(each.table.to_pandas() for each in made.values() if each.table is not None)

    quiet = {"tiles": None, "rows": None, "progress": lambda _: None}
    written(spans, jobs, Inline(), Outcome(), made_rows=keep, **quiet)
    return pd.concat(tables_of).set_index(["row_time_ns", "instrument_id"]).sort_index()


def test_with_late_events_rows_are_those_of_a_lateness_that_holds_them_all(captures):
    messages = with_delays(cut_of(captures, EARLIER))
    report, found, outcome = rows_with_late(messages, lateness(0.25))
    assert sum(report.late.values()) == outcome.late.total() > 5
    rules = lateness(2.5)
    canonical = canonical_from(raw_spans(placed(messages, rules), rules), rules, Inline(), clean := Outcome())
    wanted = frame_of(tile_spans(canonical, jobs_of(rules), Inline()), jobs_of(rules))
    assert clean.late.total() == 0
    # Where both have rows: the log of another lateness begins and ends at other borders.
    both = found.index.intersection(wanted.index)
    assert len(both) > 0.8 * len(wanted)
    pd.testing.assert_frame_equal(found.loc[both], wanted.loc[both], check_exact=True)
    assert report.changes.rows_changed > 0
    effect = max(report.changes.features.values(), key=lambda effect: effect.changed)
    assert 0 < effect.changed <= report.changes.rows
    assert effect.max_absolute >= effect.mean_absolute >= 0
    assert report.candidates["0.25"][0] == sum(report.late.values())
    assert report.candidates["2.5"][0] == 0
    assert len(list(tables(report))) == 3


def test_lateness_of_the_recorded_events_is_what_plain_counting_says(captures):
    path = captures / "ticks_binance_hftbacktest" / LATE
    log = LateLog(TICKS)
    records = placed(find_captures([path]).messages(), TICKS)
    for _ in measured(raw_spans(records, TICKS), TICKS, Inline(), log, lambda _: None):
        pass
    needed = plain_lateness(path)
    for record, frame in (("trade", "trade"), ("quote", "bookTicker")):
        told = log.lateness["binance-usdm", record]
        counts = [int((np.array(needed[frame]) > edge).sum()) for edge in EDGES_NS]
        assert (told.events, told.late) == (len(needed[frame]), counts)
    assert not log.events
    half_a_second = EDGES_NS.tolist().index(SECOND_NS // 2)
    assert log.lateness["binance-usdm", "quote"].late[half_a_second] == 131


def plain_lateness(path):
    """How far each event lay behind the greatest event time before it, by kind of frame."""
    greatest = received = 0
    needed = {"trade": [], "bookTicker": [], "depthUpdate": []}
    with gzip.open(path, "rt") as lines:
        for line in lines:
            time, _, text = line.partition(" ")
            received = max(received, int(time) * (1 if len(time) == 19 else 1_000))
            frame = json.loads(text)
            frame = frame.get("data", frame)
            if frame.get("e") in needed and frame.get("X", "MARKET") == "MARKET":
                event = frame["T"] * 1_000_000
                needed[frame["e"]].append(greatest - event)
                greatest = max(greatest, min(event, received))
    return needed


def test_the_command_says_which_sources_there_are(tmp_path):
    done = CliRunner().invoke(app, ["backfill", "--topics", "--canonical"])
    assert "expected one of: capture files, --topics, --canonical, --tiles-from FILE" in str(done.exception)
    done = CliRunner().invoke(app, ["backfill", "--tiles-from", str(tmp_path), "--with-late"])
    assert "--with-late: tiles do not say what was late" in str(done.exception)
