import pyarrow as pa
import pytest
from typer.testing import CliRunner

from featurestore.store import Store
from schemas.errors import SettingsError, StateError
from streams.cli import app
from streams.commands.store import time_ns
from tests.unit.featurestore.store.material import row_message, write

START = 1_767_225_600  # 2026-01-01


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("FORESHOCK_STORE_URL", str(tmp_path / "store"))
    store = Store(str(tmp_path / "store"))
    rows = (row_message(n, START + n, spread=1.0 * n, realised_variance_1m=2.0 * n) for n in range(100))
    write(store, *rows)
    return store


def run(*arguments):
    done = CliRunner().invoke(app, ["store", *map(str, arguments)], catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def export(out, *more):
    span = ("--from", "2026-01-01T00:00:10", "--to", "2026-01-01 00:01")
    return run("export", "--features", "spread", *span, "--horizons", "1m", "--out", out, *more)


def test_an_export_is_rebuilt_from_its_manifest_after_compaction(store, tmp_path):
    said = export(tmp_path / "set.arrow")
    assert "50 rows, sha256" in said
    with pa.OSFile(str(tmp_path / "set.arrow")) as file:
        made = pa.ipc.open_file(file).read_all()
    assert made["spread"].to_pylist() == [float(n) for n in range(10, 60)]
    assert made["ahead_1m"].to_pylist()[0] == 140.0
    assert "rows: 1 files to 1, 0 deleted" in run("compact")
    manifest = tmp_path / "set.arrow.manifest.json"
    assert "50 rows, the same bytes" in run("rebuild", manifest, "--out", tmp_path / "again.arrow")
    assert (tmp_path / "again.arrow").read_bytes() == (tmp_path / "set.arrow").read_bytes()


def test_another_table_is_told(store, tmp_path, monkeypatch):
    export(tmp_path / "set.arrow")
    monkeypatch.setenv("FORESHOCK_STORE_URL", str(tmp_path / "other"))
    write(Store(str(tmp_path / "other")), row_message(0, START + 20, spread=1.0, realised_variance_1m=2.0))
    with pytest.raises(StateError, match="the table is another one, or lost rows"):
        run("rebuild", tmp_path / "set.arrow.manifest.json")
    with pytest.raises(SettingsError, match="there is no such file"):
        run("rebuild", tmp_path / "none.json")


def test_labels_are_added_once_each_known_from_its_own_time(store, tmp_path):
    said = run("labels")
    assert said.endswith("labels added, 0 were there\n")
    assert run("labels").startswith("0 labels added")
    mine = tmp_path / "mine.csv"
    mine.write_text("address,label,known_time\n0xAB,me,2026-01-01T00:00:00Z\n0xAB,you,2026-01-02T00:00:00Z\n")
    assert run("labels", mine) == "2 labels added, 0 were there\n"
    found = store.open("labels").to_pyarrow_table().to_pylist()
    mine_found = {(row["label"], row["known_time_ns"]) for row in found if row["address"] == "0xab"}
    assert mine_found == {("me", START * 10**9), ("you", (START + 86_400) * 10**9)}
    mine.write_text("address,name\n0xab,me\n")
    with pytest.raises(StateError, match="expected the columns address, label, known_time"):
        run("labels", mine)


def test_the_bare_group_prints_its_help_and_starts_nothing(monkeypatch):
    monkeypatch.setattr("streams.store.run_store", lambda _: pytest.fail("it started the writer"))
    said = run()
    assert "Usage:" in said
    assert {"run", "show", "export"} <= set(said.split())


def test_run_starts_the_writer(monkeypatch):
    started = []
    monkeypatch.setattr("streams.store.run_store", started.append)
    run("run")
    assert [settings.worker for settings in started] == [-1]


def test_wrong_arguments_are_told_before_the_table_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("FORESHOCK_STORE_URL", str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match="horizons: expected some of 1m, 5m, 1h, 1d, got '7m'"):
        export(tmp_path / "set.arrow", "--horizons", "7m")


def test_tables_are_listed(store):
    assert "rows" in run("show")


def test_a_time_is_iso_or_nanoseconds():
    assert time_ns("--from", "2026-01-01T00:00:00.000001+01:00") == (START - 3600) * 10**9 + 1000
    assert time_ns("--from", "17") == 17
    with pytest.raises(SettingsError, match="--from: expected 2026-01-01T12:00:00 or nanoseconds, got 'now'"):
        time_ns("--from", "now")
