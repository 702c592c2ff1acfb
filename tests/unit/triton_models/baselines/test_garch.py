import numpy as np
import pytest
from arch import arch_model
from bar_panels import DAY_NS, START_NS, simulated_panel

from triton_models.baselines import garch
from triton_models.evaluation.folds import Fold

LEAVES = {"garch": garch.Parameters(0.4, 0.08, 0.0, 0.9), "gjr": garch.Parameters(0.4, 0.04, 0.06, 0.91)}
EGARCH = garch.Parameters(0.05, 0.15, -0.06, 0.97)


@pytest.fixture(scope="module")
def returns():
    random = np.random.default_rng(3)
    found, variance = np.empty(6000), 8.0
    for index, z in enumerate(random.standard_normal(6000)):
        found[index] = np.sqrt(variance) * z
        variance = 0.4 + (0.04 + 0.06 * (z < 0)) * found[index] ** 2 + 0.91 * variance
    return found


def _arch(returns, kind):
    return arch_model(returns, mean="Zero", dist="normal", rescale=False, **garch.KINDS[kind])


def _start(returns, kind):
    """Return what arch takes as the variance of the first return."""
    model = _arch(returns, kind)
    return float(model.fix(_values(model, LEAVES.get(kind, EGARCH))).conditional_volatility[0] ** 2)


def _values(model, parameters):
    values = {
        "omega": parameters.omega,
        "alpha[1]": parameters.alpha,
        "gamma[1]": parameters.gamma,
        "beta[1]": parameters.beta,
    }
    return np.array([values[name] for name in model.volatility.parameter_names()])


@pytest.mark.parametrize("kind", ["garch", "gjr", "egarch"])
def test_the_next_variance_is_that_of_arch(returns, kind):
    model, parameters = _arch(returns, kind), LEAVES.get(kind, EGARCH)
    theirs = model.fix(_values(model, parameters))
    ours = garch.next_variance(returns, parameters, kind, _start(returns, kind))
    np.testing.assert_allclose(ours[:-1], theirs.conditional_volatility[1:] ** 2, rtol=1e-6)
    last = theirs.forecast(horizon=1, reindex=False).variance.to_numpy()[-1, 0]
    assert ours[-1] == pytest.approx(last, rel=1e-6)


@pytest.mark.parametrize("kind", LEAVES)
@pytest.mark.parametrize("steps", [12, 288])
def test_the_sum_ahead_is_that_of_arch(returns, kind, steps):
    model, parameters = _arch(returns, kind), LEAVES[kind]
    theirs = model.fix(_values(model, parameters)).forecast(horizon=steps, start=5900, reindex=False)
    following = garch.next_variance(returns, parameters, kind, _start(returns, kind))[5900:]
    ours = garch.variance_ahead(following, parameters, kind, steps)
    np.testing.assert_allclose(ours, theirs.variance.to_numpy().sum(-1), rtol=1e-6)


def test_the_sum_ahead_of_egarch_is_the_mean_of_simulated_paths():
    random = np.random.default_rng(0)
    omega, alpha, gamma, beta = EGARCH
    logs = np.full(400_000, np.log(2.0))
    total = np.exp(logs)
    for _ in range(11):
        z = random.standard_normal(len(logs))
        logs = omega + alpha * (np.abs(z) - np.sqrt(2 / np.pi)) + gamma * z + beta * logs
        total += np.exp(logs)
    ours = garch.variance_ahead(np.array([2.0]), EGARCH, "egarch", 12)[0]
    assert ours == pytest.approx(total.mean(), abs=4 * total.std() / np.sqrt(len(total)))


def test_a_fit_finds_the_parameters_that_arch_finds(returns):
    theirs = _arch(returns, "gjr").fit(disp="off").params
    ours = garch.fit(returns, "gjr")
    np.testing.assert_allclose(ours, theirs[["omega", "alpha[1]", "gamma[1]", "beta[1]"]], rtol=1e-6)


def test_an_instrument_with_less_than_two_weeks_has_no_forecast():
    panel = simulated_panel(days=24, instruments=1)
    fold = Fold(START_NS + 13 * DAY_NS, START_NS + 14 * DAY_NS, START_NS + 20 * DAY_NS)
    assert np.isnan(garch.Levels("garch")(panel, fold, "5m")).all()
    later = fold._replace(train_until_ns=START_NS + 15 * DAY_NS)
    assert np.isfinite(garch.Levels("garch")(panel, later, "5m")).all()
