import pytest

from schemas.errors import SettingsError
from streams.capacity import plan
from streams.capacity.costs import cost
from streams.capacity.page import PAGE, WORKED, text
from streams.capacity.plan import MOST_BUSY, MOST_WORKERS, play


def test_the_page_is_current():
    assert PAGE.read_text() == text(), "run python -m streams.capacity.page"


@pytest.mark.parametrize(("instruments", "events"), WORKED)
def test_nothing_is_busier_than_planned_and_no_worker_is_without_a_partition(instruments, events):
    found = plan(instruments, events)
    assert found.installations * found.instruments >= instruments
    for name, need in found.needs.items():
        assert need.busy <= MOST_BUSY, name
        if name not in {"triton", "broker"}:
            assert need.count <= min(found.partitions, MOST_WORKERS)


def test_more_load_needs_no_less():
    cores = [sum(need.cores for need in plan(count, 1_000).needs.values()) for count in (10, 100, 500, 1_000)]
    assert cores == sorted(cores)
    assert plan(100, 10_000).needs["ingest"].cores > plan(100, 10).needs["ingest"].cores


def test_a_plan_with_too_few_workers_falls_behind_in_play():
    found = plan(1_000, 1_000)
    starved = found.needs | {"infer": type(found.needs["infer"])(1, 0.0, 0.0, 0.0)}
    assert found.p99_seconds < 2
    assert play(1_000, found.partitions, starved)[-1] > 100


def test_a_small_load_is_its_fixed_costs():
    found = plan(1, 0)
    assert found.partitions == 4
    assert found.needs["featurize"].cores == pytest.approx(
        4 * cost("featurize_border") + cost("featurize_row") + cost("featurize_idle")
    )


def test_no_instruments_are_refused():
    with pytest.raises(SettingsError, match="expected 1 instrument"):
        plan(0, 1)
