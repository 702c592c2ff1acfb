"""A small chaos run on real Kafka and Triton: of the faults that matter most one trial each, with short outages."""

import pytest

from deploy.stack import private_stack
from streams.chaos.scenario import scenarios
from streams.chaos.suite import QUICK, trial
from streams.settings import Settings
from tests.integration.live import TICK_MODELS

pytestmark = pytest.mark.timeout(400)
SEED = 1


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A broker and a Triton for all trials, emptied and healed before each."""
    with private_stack(tmp_path_factory.mktemp("chaos"), models=TICK_MODELS) as stack:
        yield stack


@pytest.mark.parametrize("name", QUICK)
def test_all_invariants_hold_behind_a_fault(stack, name):
    outcome = trial(Settings(), stack, scenarios()[name], SEED, quick=True, say=lambda _: None)
    wrong = [figure for figure in outcome.figures if not figure.holds]
    assert outcome.passed, f"{outcome.error} {outcome.findings} {wrong}"
