"""A small run of each benchmark on a real broker: that it measures, not what."""

import json
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from deploy.stack import private_stack
from streams.bench import featurize, ingest, latency, memory
from streams.bench.ground import Ground
from streams.bench.report import Outcome, to_json
from streams.bench.traffic import Traffic
from streams.cli import app
from streams.settings import Settings
from tests.integration.live import reset, settings_for

pytestmark = pytest.mark.timeout(300)
SMALL = Traffic(instruments=20, per_second=200, seconds=20)


@pytest.fixture(scope="module")
def grounds(tmp_path_factory):
    """One broker for all, its topics new for each run."""
    folder = tmp_path_factory.mktemp("bench")
    with private_stack(folder, ("kafka",)) as stack:

        @contextmanager
        def ground(settings):
            private = settings_for(stack, folder, heartbeat_writer=settings.heartbeat_writer)
            reset(private, keep=())
            yield Ground(private, stack)

        yield ground


@pytest.fixture(autouse=True)
def on_one_broker(grounds, monkeypatch):
    for module in (featurize, ingest, latency, memory):
        monkeypatch.setattr(module, "ground", grounds)


def figures(outcome: Outcome):
    """The figures by name, as the file has them."""
    read = json.loads(to_json(outcome))
    assert read["machine"]["cores"] > 0
    assert read["machine"]["versions"]["numpy"]
    return {figure["what"]: figure for figure in read["figures"]}


def test_frames_to_events_are_timed_beside_a_reader_that_only_decodes():
    said = []
    found = figures(ingest.run(Settings(), SMALL, said.append))
    through = found["raw topic -> canonical topic"]
    assert through["value"] > 0
    assert through["floor_ratio"] > 0
    assert said


def test_frames_to_rows_are_timed_beside_a_reader_that_only_decodes():
    figure, pace = featurize.from_raw(Settings(), SMALL, lambda _: None, 1)
    assert figure.value > 0
    assert figure.floor_ratio is not None
    assert {"ingest-0", "featurize-0", "broker", "decode-only"} == set(pace.cpu)


def test_engines_are_timed_from_memory():
    market, whole = featurize.from_memory(SMALL, Settings().rules, lambda _: None)
    assert market.value > 0
    assert whole.value > 0


def test_rows_are_timed_under_traffic_by_the_clock():
    found = figures(latency.run(Settings(), Traffic(instruments=20, per_second=200, seconds=9), lambda _: None))
    assert found["row messages timed"]["value"] > 0
    assert found["row on its topic after the lateness bound, p50"]["value"] > 0


def test_memory_is_told_for_an_instrument_and_for_each_process():
    traffic = Traffic(instruments=20, per_second=200, seconds=5)
    found = figures(memory.run(Settings(), traffic, lambda _: None, window_seconds=60))
    assert {"ingest-0 at the end", "featurize-0 at the end"} <= found.keys()
    assert "an instrument in an engine after 0.0166667 h" in found


def test_all_benchmarks_are_listed():
    listed = CliRunner().invoke(app, ["bench", "list"]).output
    assert all(name in listed for name in ("featurize", "ingest", "latency", "memory"))
