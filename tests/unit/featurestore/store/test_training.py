import random

import msgspec
import pyarrow as pa
import pytest

from featurestore.store import Manifest, Store, TableWriter, rebuild, training_set
from featurestore.store.tables import ROWS
from featurestore.store.training import ipc_bytes, sha256
from featurestore.store.upkeep import compact
from schemas.errors import SettingsError, StateError
from schemas.rules import SECOND_NS
from schemas.topics import FEATURE_ROW
from tests.unit.featurestore.store.material import row_message, write

NAMES = ("a:BTC-USDT", "a:ETH-USDT")
START = 1_700_000_000


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def fill(store, seconds, *, first_offset=0, partition=0, instruments=NAMES, **more):
    messages = [
        row_message(
            first_offset + n,
            second,
            partition=partition,
            instruments=instruments,
            spread=0.1 * second,
            realised_variance_1m=float(second - START),
            **more,
        )
        for n, second in enumerate(seconds)
    ]
    write(store, *messages)


def span(start, end):
    return (START + start) * SECOND_NS, (START + end) * SECOND_NS


def test_a_set_holds_the_rows_of_its_span_in_order_with_what_followed_them(store):
    fill(store, range(START, START + 90))
    made, manifest = training_set(store, NAMES[:1], ["spread"], *span(10, 40), ["1m"])
    assert len(made) == manifest.rows == 30
    assert made["instrument_id"].unique().to_pylist() == ["a:BTC-USDT"]
    # The row at 29 s has 89 s as its target; that of 30 s would be at 90 s, where there is none.
    assert made["ahead_1m"].to_pylist() == [*(float(second + 60) for second in range(10, 30)), *[None] * 10]
    assert manifest.targets == ["realised_variance_1m"]
    assert manifest.offsets == {FEATURE_ROW: {"0": (10, 90)}}
    assert manifest.feature_set_ids == ["set-spread-realised_variance_1m"]


def test_the_same_manifest_gives_the_same_bytes_after_appends_and_compaction(store):
    for start in range(0, 60, 10):
        fill(store, range(START + start, START + start + 10), first_offset=start)
    made, manifest = training_set(store, [], ["spread"], *span(5, 55), ["1m"])
    wanted = ipc_bytes(made)
    assert ipc_bytes(rebuild(store, manifest)) == wanted

    # Later: more rows of the log, among them the targets that were missing; another partition; a new
    # feature; a correction of a row of the set. None of them was there then.
    fill(store, range(START + 60, START + 130), first_offset=60, depth=1.0)
    fill(store, range(START, START + 60), partition=1, instruments=("a:XRP-USDT",))
    old = {name: made.slice(0, 1)[name] for name in ("instrument_id", "row_time_ns", "quality")}
    TableWriter(store, ROWS).add(pa.table(old | {"spread": [-1.0]}), "with-late", 5)
    assert ipc_bytes(rebuild(store, manifest)) == wanted

    done = {each.table: each for each in compact(store, kept_hours=0)}["rows"]
    assert done.files_before > done.files_after
    assert done.files_deleted >= done.files_before - done.files_after
    assert ipc_bytes(rebuild(store, manifest)) == wanted
    newer, _ = training_set(store, [], ["spread"], *span(5, 55), ["1m"])
    assert ipc_bytes(newer) != wanted


def test_compaction_changes_neither_records_nor_positions(store):
    fill(store, range(START, START + 10))
    fill(store, range(START + 10, START + 20), first_offset=10, depth=1.0)
    order = [("source_offset", "ascending"), ("instrument_id", "ascending")]
    before = store.open("rows").to_pyarrow_table().sort_by(order)
    compact(store, kept_hours=0)
    after = store.open("rows").to_pyarrow_table().sort_by(order)
    assert after.select(before.column_names).equals(before)
    assert TableWriter(store, ROWS).resume(FEATURE_ROW, 0) == 20
    fill(store, range(START + 15, START + 25), first_offset=20)
    assert store.open("rows").count() == 50


def test_bytes_do_not_depend_on_how_rows_came_into_the_table(store, tmp_path):
    messages = [row_message(n, START + n, instruments=NAMES, spread=n * 0.1) for n in range(30)]
    write(store, *messages)
    other = Store(str(tmp_path / "other"))
    at = 0
    draw = random.Random(5)
    while at < len(messages):
        size = draw.randint(1, 7)
        write(other, *messages[at : at + size])
        at += size
    first, second = (training_set(each, [], ["spread"], *span(0, 30)) for each in (store, other))
    assert first[1].sha256 == second[1].sha256 == sha256(second[0])


def test_rows_are_as_they_were_first_known_or_as_corrected_by_a_moment(store):
    fill(store, [START])
    row = {"instrument_id": [NAMES[0]], "row_time_ns": [START * SECOND_NS], "quality": [0], "spread": [-1.0]}
    TableWriter(store, ROWS).add(pa.table(row), "with-late", (START + 100) * SECOND_NS)

    def first_spread(moment):
        made, _ = training_set(store, NAMES[:1], ["spread"], *span(0, 1), as_known_at=moment)
        return made["spread"].to_pylist()

    served = 0.1 * START
    assert first_spread(None) == [served]
    assert first_spread((START + 99) * SECOND_NS) == [served]
    assert first_spread((START + 100) * SECOND_NS) == [-1.0]
    assert first_spread(START * SECOND_NS) == []


def test_a_manifest_is_json_and_says_when_the_table_is_another_one(store, tmp_path):
    fill(store, range(START, START + 10))
    _, manifest = training_set(store, [], ["spread"], *span(0, 10))
    assert Manifest.decode(manifest.encode()) == manifest
    with pytest.raises(StateError, match="expected the manifest of a training set"):
        Manifest.decode(b"{}")
    with pytest.raises(StateError, match="expected a manifest of format arrow-ipc-1, got 'csv'"):
        Manifest.decode(msgspec.structs.replace(manifest, format="csv").encode())
    other = Store(str(tmp_path / "other"))
    fill(other, range(START, START + 9))
    with pytest.raises(StateError, match=r"18 rows with hash \w+, the manifest has 20 with"):
        rebuild(other, manifest)


def test_an_empty_set_stays_empty(store):
    fill(store, range(START, START + 3))
    made, manifest = training_set(store, ["a:XRP-USDT"], ["spread"], *span(0, 10))
    assert len(made) == 0
    fill(store, range(START, START + 3), partition=1, instruments=("a:XRP-USDT",))
    assert len(rebuild(store, manifest)) == 0


def test_a_horizon_without_its_feature_is_told(store):
    fill(store, [START])
    with pytest.raises(StateError, match="no realised variance over '5m' in the table"):
        training_set(store, [], ["spread"], *span(0, 10), ["5m"])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((["spread"], 5, 5, []), "from, to: expected an end after the beginning, got 5 to 5"),
        (([], 0, 5, []), "features: expected the name of one at least"),
        ((["spread"], 0, 5, ["7m"]), "horizons: expected some of 1m, 5m, 1h, 1d, got '7m'"),
    ],
)
def test_a_question_without_an_answer_is_refused_before_the_table_is_looked_for(tmp_path, asked, said):
    nowhere = Store(str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match=said):
        training_set(nowhere, [], *asked)


def test_a_misspelt_feature_is_told_the_nearest(store):
    fill(store, [START])
    with pytest.raises(StateError, match="has no column 'spraed'; there is spread"):
        training_set(store, [], ["spraed"], *span(0, 10))
