"""Search over settings: a grid, at random or by TPE (Bergstra et al. 2011), over walk-forward folds.

Every trial is a line of a log, failed ones too, and the result says how many there have been: the best
of many is better than it is (Bailey and Lopez de Prado 2014), and only who knows their number can tell.
Folds purge and embargo themselves (`evaluation.folds`); choose them on data before any test window.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar, cast

import msgspec
import numpy as np
import optuna

from schemas.errors import ForeshockError, SettingsError

Value = bool | int | float | str
Settings = Mapping[str, Value]
Method = Literal["grid", "random", "tpe"]

F = TypeVar("F")
Objective = Callable[[Settings, F], float]
"""Fits with the settings on a fold's training side and returns the loss on the rows that it forecasts."""


class Choice(msgspec.Struct, frozen=True):
    """One of these values."""

    values: tuple[Value, ...]

    def suggest(self, trial: optuna.Trial, name: str) -> Value:
        """Return the trial's value."""
        return cast("Value", trial.suggest_categorical(name, self.values))


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """A number from `low` to `high`: whole where `low` is an int, by its logarithm where `log`."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: optuna.Trial, name: str) -> Value:
        """Return the trial's value."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


Space = Mapping[str, Choice | Range]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log: what was tried and what came of it."""

    number: int
    """Counted over all searches of a log."""
    method: Method
    seed: int
    settings: dict[str, Value]
    losses: tuple[float, ...]
    """One per fold, as far as they were reached."""
    loss: float | None
    """Their mean; none where the trial failed."""
    error: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The best trial of a log, and how many it is the best of."""

    best: Trial
    trials: int
    failed: int


def search(
    objective: Objective[F],
    space: Space,
    folds: Iterable[F],
    *,
    method: Method,
    log: Path,
    trials: int = 20,
    seed: int = 0,
    tried: Callable[[Trial], None] = lambda _trial: None,
) -> Result:
    """Try settings on all folds; append each trial to `log` and return the best of the whole log.

    `tried` is called with each trial that is over.

    A grid tries each combination once, in an order of the seed, and stops at `trials` if there are more.

    Raises:
        SettingsError: where a grid is asked for over a range, or there is no fold.
        ForeshockError: where every trial failed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parts = tuple(folds)
    if not parts:
        raise SettingsError("expected at least one fold to search over, got none")
    study = optuna.create_study(sampler=_sampler(space, method, seed))
    before = len(read_trials(log))

    def run(one: optuna.Trial) -> float:
        settings = {name: values.suggest(one, name) for name, values in space.items()}
        trial = _tried(objective, settings, parts, number=before + one.number, method=method, seed=seed)
        _append(log, trial)
        tried(trial)
        if trial.loss is None:
            raise optuna.TrialPruned(trial.error)
        return trial.loss

    study.optimize(run, n_trials=min(trials, _combinations(space)) if method == "grid" else trials)
    return result_of(read_trials(log))


def result_of(trials: Sequence[Trial]) -> Result:
    """Return the best of trials; the first of equals.

    Raises:
        ForeshockError: where there is none that did not fail.
    """
    good = [trial for trial in trials if trial.loss is not None]
    if not good:
        why = trials[-1].error if trials else "there was none"
        raise ForeshockError(f"no trial gave a loss; the last one: {why}")
    best = min(good, key=lambda trial: np.inf if trial.loss is None else trial.loss)
    return Result(best=best, trials=len(trials), failed=len(trials) - len(good))


def read_trials(log: Path) -> list[Trial]:
    """Read all trials of a log; none where there is no file."""
    if not log.exists():
        return []
    return [msgspec.json.decode(line, type=Trial) for line in log.read_bytes().splitlines()]


def _tried(
    objective: Objective[F], settings: dict[str, Value], folds: Sequence[F], *, number: int, method: Method, seed: int
) -> Trial:
    losses: list[float] = []
    error = ""
    try:
        for fold in folds:
            losses.append(float(objective(settings, fold)))
            if not np.isfinite(losses[-1]):
                error = f"fold {len(losses) - 1}: the loss is {losses.pop()}"
                break
    except (ForeshockError, ArithmeticError, ValueError, RuntimeError) as problem:
        error = f"fold {len(losses)}: {problem}"
    loss = None if error else float(np.mean(losses))
    return Trial(
        number=number, method=method, seed=seed, settings=settings, losses=tuple(losses), loss=loss, error=error
    )


def _append(log: Path, trial: Trial) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(msgspec.json.encode(trial) + b"\n")


def _sampler(space: Space, method: Method, seed: int) -> optuna.samplers.BaseSampler:
    if method == "random":
        return optuna.samplers.RandomSampler(seed)
    if method == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    ranges = [name for name, values in space.items() if isinstance(values, Range)]
    if ranges:
        raise SettingsError(f"a grid needs choices, got a range for {', '.join(ranges)}")
    grid = {name: values.values for name, values in space.items() if isinstance(values, Choice)}
    return optuna.samplers.GridSampler(grid, seed)


def _combinations(space: Space) -> int:
    return int(np.prod([len(values.values) for values in space.values() if isinstance(values, Choice)]))
