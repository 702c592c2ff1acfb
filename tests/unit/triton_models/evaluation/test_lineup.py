import msgspec
import numpy as np
import pytest
from bar_panels import DAY_NS, START_NS, simulated_panel

from schemas.errors import SettingsError
from triton_models.baselines.corrected import Corrected
from triton_models.bundle import Size
from triton_models.evaluation import lineup
from triton_models.evaluation.folds import Folds
from triton_models.evaluation.lineup import choose
from triton_models.material import Options

FOLDS = Folds(START_NS + 77 * DAY_NS, START_NS + 78 * DAY_NS, START_NS + 80 * DAY_NS)
QUICK = Options(
    intervals=3, size=Size(width=16, heads=2, layers=1, random_features=8), epochs=1, examples=256, batch=128
)


def test_networks_are_in_the_line_up_unless_there_are_no_seeds():
    names = [expert.name for expert in choose()]
    assert names[-2:] == ["lstm", "performer"]
    assert "lstm" not in [expert.name for expert in choose(seeds=0)]
    assert [expert.name for expert in choose(["ewma", "har-ref"])] == ["ewma", "har-ref"]
    with pytest.raises(SettingsError, match="--models: no model lstm; there are random-walk, seasonal-naive"):
        choose(["lstm"], seeds=0)


def test_networks_correct_one_reference_that_is_made_once(monkeypatch):
    monkeypatch.setattr(lineup, "DEFAULT_WALK", msgspec.structs.replace(lineup.DEFAULT_WALK, first=QUICK, refresh=None))
    asked = []

    def forecasts(self, panel, folds, horizon, before=Corrected.forecasts):
        asked.append(horizon)
        return before(self, panel, folds, horizon)

    monkeypatch.setattr(Corrected, "forecasts", forecasts)
    panel = simulated_panel(days=82, instruments=2)
    lstm, performer = choose(["lstm", "performer"], seeds=1)
    found = [expert.forecasts(panel, FOLDS, horizon) for expert in (lstm, performer) for horizon in ("5m", "1h")]
    # Each horizon twice: of the folds, and of the time before them; not once more for the second network.
    assert asked == ["5m", "5m", "1h", "1h", "1d", "1d"]
    rows = FOLDS._folds[0].forecast(panel)
    assert all(np.isfinite(one.mean[rows & panel.origins("1h")]).all() for one in found)
    assert all((np.diff(one.quantiles[rows & panel.origins("1h")], axis=-1) > 0).all() for one in found)
    assert not np.array_equal(found[1].mean, found[3].mean, equal_nan=True)


def test_too_few_rows_for_networks_are_told_before_any_fit():
    panel = simulated_panel(days=62, instruments=1)
    folds = Folds(START_NS + 50 * DAY_NS, START_NS + 51 * DAY_NS, START_NS + 60 * DAY_NS)
    with pytest.raises(SettingsError, match="networks need 75 days of bars before the warm-up, got 50; give a later"):
        choose(["lstm"])[0].forecasts(panel, folds, "1h")
