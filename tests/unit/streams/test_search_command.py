"""`foreshock search`: what it refuses, what it logs, and that a second search goes on with the first one's log."""

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bar_panels import simulated_panel
from typer.testing import CliRunner

from schemas.errors import ForeshockError
from streams import bar_rows
from streams.cli import app
from triton_models.evaluation import networks
from triton_models.search import read_trials


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of two instruments whose rows are simulated, and networks that are quick."""
    folder = tmp_path / "bars"
    folder.mkdir()
    ends = pd.to_datetime(["2023-01-01", "2023-04-11"], utc=True)
    bar = {name: [100.0, 100.0] for name in ("open", "high", "low", "close", "volume")}
    for asset in ("AAA", "BBB"):
        pd.DataFrame({"date": ends, **bar}).to_parquet(folder / f"venue_spot_{asset}_5m.parquet", index=False)
    panel = simulated_panel(days=100, instruments=2)
    names = np.array(["venue:AAA-USDT", "venue:BBB-USDT"])[panel.instrument]
    columns = {name: pa.array(values) for name, values in panel.columns.items()}
    rows = pa.table({"instrument_id": pa.array(names), "row_time_ns": pa.array(panel.row_time_ns), **columns})
    monkeypatch.setattr(bar_rows, "rows_of", lambda *_: rows)
    walk = networks.DEFAULT_WALK
    quick = msgspec.structs.replace(walk.first, epochs=1, examples=256, batch=128)
    monkeypatch.setattr(networks, "DEFAULT_WALK", msgspec.structs.replace(walk, first=quick))
    return folder


def _search(data, out, *options):
    arguments = ["search", "--data", str(data), "--out", str(out), "--until", "2023-04-10", "--fold-days", "7"]
    result = CliRunner().invoke(app, [*arguments, *options])
    if isinstance(result.exception, ForeshockError):
        raise result.exception
    return result


def test_trials_are_logged_and_a_second_search_goes_on(data, tmp_path):
    out = tmp_path / "out"
    first = _search(data, out, "--kind", "lstm", "--trials", "1", "--folds", "1", "--method", "random")
    assert first.exit_code == 0, first.output
    assert "best of 1 trials (0 failed)" in first.output
    second = _search(data, out, "--kind", "lstm", "--trials", "1", "--folds", "1", "--method", "random", "--seed", "1")
    assert "best of 2 trials" in second.output
    trials = read_trials(out / "trials-lstm.jsonl")
    assert [(trial.number, trial.seed) for trial in trials] == [(0, 0), (1, 1)]
    assert trials[0].settings != trials[1].settings
    assert all(0.5 < trial.loss < 1.5 for trial in trials)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--kind", "gru"), "--kind: expected one of lstm, performer, got 'gru'"),
        (("--method", "bayes"), "--method: expected one of grid, random, tpe, got 'bayes'"),
        (("--folds", "12"), "--folds: expected 30 days of bars before 2023-01-16, the first is of 2023-01-01"),
        (("--instruments", "CCC"), "--instruments: no bars of 'CCC'"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_work(data, tmp_path, options, told):
    with pytest.raises(ForeshockError) as error:
        _search(data, tmp_path / "out", *options)
    assert told in str(error.value)
    assert not (tmp_path / "out").exists()
