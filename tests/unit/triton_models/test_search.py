import json

import pytest

from schemas.errors import ForeshockError, SettingsError, StateError
from triton_models.search import Choice, Range, read_trials, search

FOLDS = (0.0, 0.2)
SPACE = {"width": Choice((8, 16, 32)), "rate": Range(low=1e-4, high=1e-1, log=True)}
GRID = {"width": Choice((8, 16, 32)), "kind": Choice(("a", "b"))}


def bowl(settings, fold):
    """Least at a width of 16 and a rate of 0.01."""
    rate = settings.get("rate", 0.01)
    return abs(settings["width"] - 16) / 16 + abs(rate - 0.01) * 10 + fold


@pytest.fixture
def log(tmp_path):
    return tmp_path / "runs" / "trials.jsonl"


def test_a_grid_tries_each_combination_once(log):
    result = search(bowl, GRID, FOLDS, method="grid", log=log, trials=100)
    tried = [tuple(trial.settings.values()) for trial in read_trials(log)]
    assert len(tried) == len(set(tried)) == result.trials == 6
    assert result.best.settings["width"] == 16
    assert result.best.losses == (0.0, 0.2)
    assert result.best.loss == pytest.approx(0.1)


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_the_same_seed_tries_the_same_and_another_seed_others(log, tmp_path, method):
    logs = [log, tmp_path / "again.jsonl", tmp_path / "other.jsonl"]
    for path, seed in zip(logs, (0, 0, 1), strict=True):
        search(bowl, SPACE, FOLDS, method=method, log=path, trials=6, seed=seed)
    assert logs[0].read_bytes() == logs[1].read_bytes() != logs[2].read_bytes()


def test_tpe_learns_from_its_trials_and_random_does_not(tmp_path):
    space = {"rate": Range(low=0.0, high=1.0)}

    def later(method, seed):
        path = tmp_path / f"{method}{seed}"
        search(
            lambda settings, _: abs(settings["rate"] - 0.3), space, [0], method=method, log=path, trials=40, seed=seed
        )
        return sum(trial.loss for trial in read_trials(path)[20:]) / 20

    tpe, random = (sum(later(method, seed) for seed in range(3)) / 3 for method in ("tpe", "random"))
    assert tpe < random / 2


def test_every_trial_is_logged_the_failed_ones_too(log):
    def fragile(settings, fold):
        if settings["width"] == 8 and fold:
            raise StateError("too few rows")
        return float("nan") if settings["width"] == 16 else 1.0

    result = search(fragile, GRID, FOLDS, method="grid", log=log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(6))
    assert {line["settings"]["width"]: line["error"] for line in lines} == {
        8: "fold 1: too few rows",
        16: "fold 0: the loss is nan",
        32: "",
    }
    assert (result.trials, result.failed) == (6, 4)
    assert result.best.settings["width"] == 32


def test_a_log_counts_all_searches_that_were_made(log):
    search(bowl, GRID, FOLDS, method="grid", log=log)
    result = search(bowl, SPACE, FOLDS, method="random", log=log, trials=3)
    assert result.trials == 9
    assert [trial.number for trial in read_trials(log)] == list(range(9))
    assert result.best.method == "grid"


def test_without_one_good_trial_it_says_why(log):
    def broken(settings, fold):
        raise StateError("no rows before 2023-11")

    with pytest.raises(ForeshockError, match="no trial gave a loss; the last one: fold 0: no rows before 2023-11"):
        search(broken, GRID, FOLDS, method="grid", log=log)


def test_a_grid_over_a_range_and_no_fold_are_errors(log):
    with pytest.raises(SettingsError, match="a grid needs choices, got a range for rate"):
        search(bowl, SPACE, FOLDS, method="grid", log=log)
    with pytest.raises(SettingsError, match="at least one fold"):
        search(bowl, GRID, [], method="random", log=log)
    assert not log.exists()
