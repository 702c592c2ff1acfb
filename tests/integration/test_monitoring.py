"""A run that is watched: Prometheus finds its processes, records of them, and tells Alertmanager what is wrong."""

import time

import pytest

from deploy.monitoring.files import write_rules
from deploy.query import firing, query
from deploy.stack import MONITORING, private_stack
from schemas.metrics import END_TO_END, FORECASTS_PUBLISHED, OFFSET_LAG_SECONDS, READ_OFFSET, ROWS
from streams.chaos.live import fill, pipeline
from streams.pipeline import prepare
from streams.sources.market import market
from tests.integration.live import settings_for

pytestmark = pytest.mark.timeout(300)
START_NS = 1_767_225_600_000_000_000
STAGES = ("ingest", "featurize", "infer")


def wait_for(condition, what, seconds=90):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"waited {seconds} s for {what}"
        time.sleep(0.5)


def test_a_run_is_found_recorded_and_alerted_of(tmp_path):
    with private_stack(tmp_path / "stack", ("kafka",)) as stack:
        # No Triton on purpose: forecasts are fallbacks, and TritonDown has to be told.
        stack.watch(rules=write_rules(tmp_path / "rules", "test"))
        stack.up(MONITORING)
        settings = settings_for(stack, stack.folder / "state")
        prepare(settings)
        fill(settings, market(7, START_NS, 90))
        with pipeline(settings, STAGES, starting_seconds=0):
            up = 'up{job="foreshock"} == 1'
            wait_for(lambda: {one.labels["stage"] for one in query(stack.prometheus, up)} == set(STAGES), "targets")
            recorded = "slo:model_errors:ratio15s == 1"
            wait_for(lambda: query(stack.prometheus, recorded), "a recorded series")
            for metric in (ROWS, FORECASTS_PUBLISHED, OFFSET_LAG_SECONDS, READ_OFFSET):
                assert query(stack.prometheus, metric.name), metric.name
            assert query(stack.prometheus, f"{END_TO_END.name}_count > 0")
            # A label that Prometheus and a metric both give is not renamed.
            assert not query(stack.prometheus, '{exported_stage!=""}')
            wait_for(lambda: "TritonDown" in firing(stack.alertmanager), "an alert")
        assert list((stack.folder / "state" / "targets").iterdir()) == []
        wait_for(lambda: not query(stack.prometheus, 'up{job="foreshock"}'), "nobody to be scraped")
        stack.down()
        assert not any(stack.is_running(service) for service in MONITORING)
