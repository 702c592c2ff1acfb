"""May a challenger make the forecasts? Diebold-Mariano tests of its losses against the active version's.

One-sided, at each horizon and for each loss. The challenger must be better somewhere at the level
that Bonferroni leaves of 5 % over all tests, and worse nowhere at 5 % of each single one. Who asks
again and again would be lucky in the end: the k-th look at one challenger spends 1 / (k (k + 1)) of
the 5 %, which adds up to no more than all of it, however often one looks.

Origins and lags are those of the evaluation (`definitions`), and a minute ahead at every minute. A
standard error from L lags needs many times as many origins: here ten for each. Of equal models 2 %
were promoted at the first look where losses depend on the origin before by 0 to .8, 3.5 % by .9, and
4.7 % within eight looks at new losses each (simulated, 300 to 800 times; the tests repeat some).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from schemas.decisions import Loss, SkillTest
from schemas.rules import MINUTE_NS
from schemas.tensors import HORIZON_NS
from triton_models.evaluation.comparison import diebold_mariano
from triton_models.evaluation.definitions import HAC_LAGS, ORIGIN_STEP_NS

Floats = npt.NDArray[np.float64]

TEST = "diebold-mariano"
LOSSES: tuple[Loss, ...] = ("qlike", "pinball")
LEVEL = 0.05
ORIGINS_A_LAG = 10
STEP_NS = {"1m": MINUTE_NS, **ORIGIN_STEP_NS}
"""Origins that are compared, by horizon."""
LAGS = {"1m": 36, **HAC_LAGS}
NEEDED = {horizon: ORIGINS_A_LAG * (lags + 1) for horizon, lags in LAGS.items()}
"""Least origins of a test: 6 hours at 1m, 31 at 5m, 4 days at 1h, 20 days at 1d."""


class Verdict(NamedTuple):
    """Whether a challenger is promoted, and by what tests."""

    promoted: bool
    reason: str
    better_level: float
    """The p-value below which one test counts as better; 0 where nothing could be tested."""
    tests: list[SkillTest]


def judge(differences: Mapping[tuple[str, Loss], Floats], looks: int = 0) -> Verdict:
    """Return the verdict on a challenger.

    differences: by horizon and loss, the challenger's loss less the active version's at each origin
    (N,) on the horizon's grid of `STEP_NS`, in order of time, NaN where not known. looks: how often
    it was tested before.
    """
    tests = [_tested(horizon, loss, series) for (horizon, loss), series in differences.items()]
    tested = [test for test in tests if test.p_better is not None]
    if not tested:
        return Verdict(promoted=False, reason=_too_few(tests), better_level=0.0, tests=tests)
    level = LEVEL / ((looks + 1) * (looks + 2)) / len(tested)
    better = [test for test in tested if test.p_better is not None and test.p_better < level]
    worse = [test for test in tested if test.p_worse is not None and test.p_worse < LEVEL]
    if worse:
        reason = f"significantly worse: {_told(worse)}"
    elif better:
        reason = f"significantly better: {_told(better)}"
    else:
        reason = f"nowhere significantly better at a level of {level:.2g} for each of {len(tested)} tests"
    return Verdict(promoted=bool(better and not worse), reason=reason, better_level=level, tests=tests)


def _tested(horizon: str, loss: Loss, series: Floats) -> SkillTest:
    found = int(np.isfinite(series).sum())
    untested = SkillTest(horizon=horizon, loss=loss, origins=found, needed=NEEDED[horizon])
    if found < NEEDED[horizon]:
        return untested
    steps = max(1, HORIZON_NS[horizon] // STEP_NS[horizon])
    result = diebold_mariano(series, np.zeros(len(series)), lags=LAGS[horizon], steps=steps)
    if not np.isfinite(result.p_value):
        return untested
    # A standard error from so few lags has tails of its own: those of Student's t with 3 N / 2 L degrees
    # of freedom (Bartlett window; Lazarus, Lewis, Stock and Watson 2018), where origins are independent.
    # N / L leave room for the dependence that the window does not see; N would let twice 5 % pass.
    degrees = min(found - 1, found / (LAGS[horizon] + 1))
    statistic = result.statistic if np.isfinite(result.statistic) else 0.0
    return SkillTest(
        horizon=horizon,
        loss=loss,
        origins=found,
        needed=NEEDED[horizon],
        difference=result.difference,
        statistic=statistic,
        p_better=float(stats.t.cdf(statistic, degrees)),
        p_worse=float(stats.t.sf(statistic, degrees)),
    )


def _told(tests: list[SkillTest]) -> str:
    return ", ".join(f"{test.horizon} by {test.loss} ({test.difference:+.3g})" for test in tests)


def _too_few(tests: list[SkillTest]) -> str:
    if not any(test.origins for test in tests):
        return "nothing was scored of it yet"
    counts = dict.fromkeys(f"{test.horizon} {test.origins} of {test.needed}" for test in tests)
    return f"too few origins were scored: {', '.join(counts)}"
