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
from streams.chaos.emptying import reset
from streams.cli import app
from streams.settings import Settings
from tests.integration.live import settings_for

pytestmark = pytest.mark.timeout(300)
SMALL = Traffic(instruments=20, per_second=100, seconds=60)


@pytest.fixture(scope="module")
def grounds(tmp_path_factory):
    """One broker for all, its topics new for each run."""
    folder = tmp_path_factory.mktemp("bench")
    with private_stack(folder, ("kafka",)) as stack:

        @contextmanager
        def ground(settings, *, by_default=False):
            private = settings_for(stack, folder, heartbeat_writer=settings.heartbeat_writer)
            reset(private, keep=())
            yield Ground(private, stack)  # the whole catalogue is announced

        yield ground


@pytest.fixture(autouse=True)
def on_one_broker(grounds, monkeypatch):
    for module in (featurize, latency):
        monkeypatch.setattr(module, "ground", grounds)


def figures(outcome: Outcome):
    """The figures by name, as the file has them."""
    read = json.loads(to_json(outcome))
    assert read["machine"]["cores"] > 0
    assert read["machine"]["versions"]["numpy"]
    return {figure["what"]: figure for figure in read["figures"]}


def test_frames_to_rows_are_timed_beside_a_reader_that_only_decodes():
    figure, pace = featurize.from_raw(Settings(), SMALL, lambda _: None, 1)
    assert figure.value > 0
    assert figure.floor_ratio is not None
    assert {"ingest-0", "featurize-0", "broker", "decode-only"} == set(pace.cpu)


def test_engines_are_timed_from_memory():
    assert all(figure.value > 0 for figure in featurize.from_memory(Settings(), SMALL, lambda _: None))


def test_rows_are_timed_under_traffic_by_the_clock():
    said = []
    found = figures(latency.run(Settings(), Traffic(instruments=20, per_second=200, seconds=8), said.append))
    assert said
    assert found["row messages timed"]["value"] > 0
    assert found["row on its topic after the lateness bound, p50"]["value"] > 0


def test_what_an_instrument_takes_is_told_and_how_processes_grow():
    figure = memory.per_instrument(Settings().rules, 20, 60, lambda _: None)
    assert (figure.what, figure.unit) == ("an instrument in an engine after 0.0166667 h", "MB")
    growing = [(60.0 * minute, {"ingest-0": 100.0 + 2 * minute, "broker": 1.0}) for minute in range(9)]
    at_the_end, growth = memory.course(growing)
    assert (at_the_end.value, at_the_end.what) == (116.0, "ingest-0 at the end")
    assert growth.value == pytest.approx(2.0)


def test_frames_to_events_are_timed_from_memory():
    figure = ingest.from_memory(SMALL, Settings().rules, lambda _: None)
    assert figure.value > 0


def test_all_benchmarks_are_listed():
    listed = CliRunner().invoke(app, ["bench", "list"]).output
    assert all(name in listed for name in ("featurize", "ingest", "latency", "memory"))
