"""`foreshock evaluate`: what it refuses before any work, and what it writes."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bar_panels import DAY_NS, START_NS, simulated_panel
from typer.testing import CliRunner

from schemas.errors import ForeshockError
from streams import bar_rows
from streams.cli import app
from triton_models.evaluation.definitions import FEATURES
from triton_models.evaluation.scores import qlike

DATES = {"--train-until": "2023-02-20", "--from": "2023-02-21", "--to": "2023-03-04"}


def _write_bars(path, starts, seed=0):
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(1e-3 * random.standard_normal(len(starts))))
    opening = np.concatenate([[100.0], close[:-1]])
    spread = np.exp(1e-3 * np.abs(random.standard_normal(len(starts))))
    pd.DataFrame(
        {
            "date": starts,
            "open": opening,
            "high": np.maximum(opening, close) * spread,
            "low": np.minimum(opening, close) / spread,
            "close": close,
            "volume": random.gamma(2, 1, len(starts)),
        }
    ).to_parquet(path, index=False)


@pytest.fixture
def data(tmp_path):
    """A folder whose files say which instruments there are, and from when to when."""
    folder = tmp_path / "bars"
    folder.mkdir()
    ends = pd.to_datetime(["2023-01-01", "2023-03-05"], utc=True)
    for asset in ("AAA", "BBB"):
        _write_bars(folder / f"venue_spot_{asset}_5m.parquet", ends)
    _write_bars(folder / "venue_futures_AAA_5m.parquet", pd.to_datetime(["2024-01-01", "2024-02-01"], utc=True))
    return folder


def _evaluate(data, out, *options, **dates):
    arguments = ["evaluate", "--data", str(data), "--out", str(out), *options]
    for name, day in (DATES | {f"--{name.replace('_', '-')}": day for name, day in dates.items()}).items():
        arguments += [name, day]
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, ForeshockError):
        raise result.exception
    return result


REFUSED = {
    "profile": (("--profile", "ticks"), {}, "--profile: expected bars, the profile that has bar files, got 'ticks'"),
    "date": ((), {"to": "2023-02-30"}, "expected a date as 2024-02-29, got '2023-02-30'"),
    "order": ((), {"from": "2023-02-10"}, "expected: end of training <= start < end of the evaluation"),
    "too little before": ((), {"train_until": "2023-01-20"}, "--train-until: expected 30 days of bars before 2023-01-21, the first is of 2023-01-01"),  # noqa: E501
    "before the start": ((), {"train_until": "2022-03-01", "from": "2022-03-02", "to": "2022-04-01"}, "no file has a bar before the end of 2022-04-01"),  # noqa: E501
    "after the end": ((), {"to": "2023-03-06"}, "--to: expected a day with bars, the last is of 2023-03-05"),
    "instrument": (("--instruments", "CCC"), {}, "--instruments: no bars of 'CCC' before the end; there are venue:AAA-USDT, venue:BBB-USDT"),  # noqa: E501
    "held out": (("--held-out", "venue-usdm:AAA-USDT-PERP"), {}, "--held-out: no bars of 'venue-usdm:AAA-USDT-PERP' before the end"),  # noqa: E501
    "nothing left": (("--held-out", "AAA", "--held-out", "BBB"), {}, "--held-out: expected an instrument that is left to train on"),  # noqa: E501
    "model": (("--models", "haar"), {}, "--models: no model haar; there are random-walk"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_evaluated_is_refused_before_any_work(data, tmp_path, monkeypatch, case):
    monkeypatch.setattr(bar_rows, "rows_of", lambda *_: pytest.fail("work was begun"))
    options, dates, told = REFUSED[case]
    with pytest.raises(ForeshockError) as error:
        _evaluate(data, tmp_path / "out", *options, **dates)
    assert told in str(error.value)
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_serve_are_refused(data, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ForeshockError, match=r"--data .*: no 5-minute bars; expected files like binance_spot_BTC"):
        _evaluate(empty, tmp_path / "out")
    with pytest.raises(ForeshockError, match=r"--data .*/nowhere: no such folder"):
        _evaluate(tmp_path / "nowhere", tmp_path / "out")
    (empty / "wrong_5m.parquet").write_bytes(b"no bars")
    with pytest.raises(ForeshockError, match=r"--data .*wrong_5m.parquet: not a capture of a known kind"):
        _evaluate(empty, tmp_path / "out")
    (tmp_path / "file").write_text("")
    (data / "venue_spot_CCC_5m.parquet").write_bytes(b"no bars")
    with pytest.raises(ForeshockError, match=r"venue_spot_CCC_5m.parquet:0 .*: not a whole bar file"):
        _evaluate(data, tmp_path / "out")
    (data / "venue_spot_CCC_5m.parquet").unlink()
    with pytest.raises(ForeshockError, match=r"--out .*/file/out: cannot be written to \(Not a directory\)"):
        _evaluate(data, tmp_path / "file" / "out")


def _rows(*_):
    """Return the rows of a backfill of the two instruments, simulated."""
    panel = simulated_panel(days=64, instruments=2)
    names = np.array(["venue:AAA-USDT", "venue:BBB-USDT"])[panel.instrument]
    columns = {name: pa.array(values) for name, values in panel.columns.items()}
    return pa.table({"instrument_id": pa.array(names), "row_time_ns": pa.array(panel.row_time_ns), **columns})


def test_three_files_say_what_was_found(data, tmp_path, monkeypatch):
    monkeypatch.setattr(bar_rows, "rows_of", _rows)
    out = tmp_path / "out"
    models = ("random-walk", "ewma", "har-plain", "har-seas", "har-ref")
    options = [part for name in models for part in ("--models", name)]
    result = _evaluate(data, out, "--held-out", "BBB", "--seeds", "0", *options)
    assert result.exit_code == 0, result.output
    assert "5m: networks: none was evaluated, so they add nothing here" in result.output
    report = json.loads((out / "report.json").read_text())
    assert list(report) == ["first_lines", "about", "definitions", "regimes", "horizons"]
    assert report["about"]["held_out"] == ["venue:BBB-USDT"]
    assert report["about"]["folds"][0]["train_until"] == "2023-02-20 00:00"
    assert list(report["horizons"]) == ["5m", "1h", "1d"]
    table = pq.read_table(out / "forecasts.parquet").to_pandas()
    assert set(table["model"]) == {*models, "mean", "combined-without-networks", "combined-live"}
    assert table["origin_time_ns"].min() == START_NS + 51 * DAY_NS
    # Anyone can recompute each score from the file.
    for horizon, found in report["horizons"].items():
        for instrument, cells in found["cells"].items():
            for model, scores in cells.items():
                rows = table[(table.model == model) & (table.instrument == instrument) & (table.horizon == horizon)]
                loss = qlike(rows["realised"].to_numpy(np.float64), rows["mean"].to_numpy(np.float64))
                assert np.nanmean(loss) == pytest.approx(scores["qlike"], abs=1e-8)
                assert np.isfinite(loss).sum() == scores["count"]
                assert scores["crossings"] == 0
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 5
    assert "http" not in page
    assert all(line.replace("<", "&lt;") in page for line in report["first_lines"])


def test_rows_are_made_once_and_later_bars_change_none(tmp_path):
    folder, cache = tmp_path / "bars", tmp_path / "cache"
    folder.mkdir()
    starts = pd.date_range("2023-01-01", periods=200, freq="5min", tz="UTC")
    for seed, asset in enumerate(("AAA", "BBB")):
        _write_bars(folder / f"venue_spot_{asset}_5m.parquet", starts, seed)
    bars, told = bar_rows.find_bars(folder), []
    until = START_NS + DAY_NS // 2
    first = bar_rows.rows_of(bars, FEATURES, until, cache)
    assert max(first["row_time_ns"].to_pylist()) == until
    assert set(first["instrument_id"].to_pylist()) == {"venue:AAA-USDT", "venue:BBB-USDT"}
    assert np.isfinite(first["bar_realised_variance_1h"].to_numpy()).sum() > 200
    made = sorted(cache.iterdir())
    assert bar_rows.rows_of(bars, FEATURES, until, cache, lambda *said: told.append(said)).equals(first)
    assert not told
    longer = bar_rows.rows_of(bars, FEATURES, until + 3 * 3600 * 10**9, cache)
    assert longer.filter(pa.compute.less_equal(longer["row_time_ns"].cast(pa.int64()), until)).equals(first)
    assert len(list(cache.iterdir())) == len(made) + 1
    _write_bars(folder / "venue_spot_BBB_5m.parquet", starts, seed=7)
    assert not bar_rows.rows_of(bars, FEATURES, until, cache).equals(first)
