import itertools

import msgspec
import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from schemas.errors import StateError
from triton_models.evaluation.regimes import Regimes, fit, likeliest

TRUTH = Regimes(means=(-11.0, -9.0), deviations=(0.5, 0.8), transitions=((0.97, 0.03), (0.06, 0.94)))


def simulate(regimes, rows, columns, seed=1):
    """Return states and log variances (T, N) of the chain."""
    random = np.random.default_rng(seed)
    states = np.empty((rows, columns), int)
    cumulative = np.cumsum(regimes.transitions, axis=-1)
    now = np.zeros(columns, int)
    for row in range(rows):
        now = (random.random(columns)[:, None] > cumulative[now]).sum(-1)
        states[row] = now
    values = np.array(regimes.means)[states] + np.array(regimes.deviations)[states] * random.normal(size=states.shape)
    return states, values


def test_the_filter_is_the_sum_over_all_paths():
    three = Regimes(
        means=(-11.0, -10.0, -8.0),
        deviations=(0.4, 0.6, 1.0),
        transitions=((0.8, 0.15, 0.05), (0.1, 0.8, 0.1), (0.0, 0.3, 0.7)),
    )
    values = np.array([-10.5, -9.0, -8.2, -10.9, -11.0, -7.0])
    filtered = three.filter(values[:, None])[:, 0]
    start = three.start() @ np.array(three.transitions)
    for length in range(1, len(values) + 1):
        mass = np.zeros(3)
        for path in itertools.product(range(3), repeat=length):
            p = start[path[0]] * np.prod([three.transitions[a][b] for a, b in itertools.pairwise(path)])
            p *= np.prod([stats.norm.pdf(values[i], three.means[s], three.deviations[s]) for i, s in enumerate(path)])
            mass[path[-1]] += p
        assert np.abs(filtered[length - 1] - mass / mass.sum()).max() < 1e-12


def test_the_filter_is_that_of_statsmodels():
    _, values = simulate(TRUTH, 600, 1)
    model = sm.tsa.MarkovRegression(values[:, 0], k_regimes=2, switching_variance=True)
    parameters = [0.97, 0.06, -11.0, -9.0, 0.5**2, 0.8**2]  # p[0->0], p[1->0], means, variances
    expected = model.filter(np.array(parameters)).filtered_marginal_probabilities
    assert np.abs(TRUTH.filter(values)[:, 0] - expected).max() < 1e-9


def test_it_finds_the_chain_that_made_the_data_as_well_as_statsmodels_does():
    _, values = simulate(TRUTH, 250, 1, seed=4)
    ours = fit(values, tolerance=1e-10)
    model = sm.tsa.MarkovRegression(values[:, 0], k_regimes=2, switching_variance=True)
    theirs = model.fit(start_params=[0.97, 0.06, -11.0, -9.0, 0.5**2, 0.8**2], em_iter=0, disp=False)
    assert ours.means == pytest.approx(theirs.params[2:4], abs=0.02)
    assert np.square(ours.deviations) == pytest.approx(theirs.params[4:6], abs=0.03)


def test_many_instruments_and_long_columns_are_one_sample():
    states, values = simulate(TRUTH, 4000, 5)
    values[100:130, 2] = np.nan
    found = fit(values)
    assert found.means == pytest.approx(TRUTH.means, abs=0.05)
    assert found.deviations == pytest.approx(TRUTH.deviations, abs=0.05)
    assert np.array(found.transitions) == pytest.approx(np.array(TRUTH.transitions), abs=0.01)
    right = likeliest(found.filter(values)) == states
    assert right.mean() > 0.95


def test_later_rows_change_no_earlier_one():
    _, values = simulate(TRUTH, 300, 3)
    whole = TRUTH.filter(values)
    for cut in (1, 57, 299):
        other = values.copy()
        other[cut:] = np.random.default_rng(9).normal(0, 5, other[cut:].shape)
        assert TRUTH.filter(other)[:cut].tobytes() == whole[:cut].tobytes()
        assert TRUTH.filter(values[:cut]).tobytes() == whole[:cut].tobytes()


def test_row_by_row_and_instrument_by_instrument_give_the_same_bits():
    _, values = simulate(TRUTH, 200, 5)
    whole = TRUTH.filter(values)
    coded = msgspec.json.decode(msgspec.json.encode(TRUTH), type=Regimes)
    for column in range(5):
        probabilities = coded.start()
        for row in range(200):
            probabilities = coded.update(probabilities, values[row, column])
            assert probabilities.tobytes() == whole[row, column].tobytes()


def test_what_is_not_known_lets_the_chain_run_on():
    certain = np.array([0.0, 1.0])
    run_on = TRUTH.update(certain, np.array(np.nan))
    assert run_on == pytest.approx([0.06, 0.94])
    for _ in range(500):
        run_on = TRUTH.update(run_on, np.array(np.nan))
    assert run_on == pytest.approx(TRUTH.start())
    assert run_on == pytest.approx([2 / 3, 1 / 3])
    assert np.isfinite(TRUTH.update(certain, np.array(1e6))).all()


def test_too_few_rows_are_refused():
    with pytest.raises(StateError, match="2 regimes need 20 known rows, got 3"):
        fit(np.array([[1.0], [2.0], [3.0]]))
