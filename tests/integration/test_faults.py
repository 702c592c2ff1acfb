"""What goes wrong around the stages: Triton gone, messages damaged; and what a quant adds."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest

from deploy.cache import CHECKOUT
from deploy.stack import private_stack
from featurestore.catalogue import Catalogue
from schemas.batches import decode_batch
from schemas.rows import decode_rows
from schemas.topics import DEAD_LETTER, FEEDS, FORECAST, RAW_TOPICS
from streams.backfill import backfill_topics
from streams.chaos.live import fill, first_rows, forecasts, pipeline, reset, rows_hash, scheduled
from streams.kafka import create_topics, read_topic
from streams.pipeline import raw_producer
from streams.sources.faults import damage
from streams.sources.market import market
from streams.sources.replay import replay
from tests.integration.live import TICK_MODELS, settings_for

pytestmark = pytest.mark.timeout(400)
START_NS = 1_767_225_600_000_000_000
ROWS_ONLY = ("ingest", "featurize")
OUTAGE_SECONDS = 20.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """A broker, and a tritonserver to kill."""
    with private_stack(tmp_path_factory.mktemp("servers"), models=TICK_MODELS) as stack:
        yield stack


@pytest.fixture
def settings(servers, tmp_path):
    """Settings of a pipeline whose topics are all empty."""
    settings = settings_for(servers, tmp_path)
    reset(settings, keep=())
    return settings


class Playing:
    """The built-in market as fast as it happens, until told to stop."""

    def __init__(self, settings):
        self._ended = threading.Event()
        arguments = (self._messages(), raw_producer(settings), settings.rules)
        self._thread = threading.Thread(target=replay, args=arguments, kwargs={"speed": 1.0}, daemon=True)

    def _messages(self):
        for message in market(3, START_NS, 600, intensity=0.3):
            if self._ended.is_set():
                return
            yield message

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()


class Forecasts:
    """What is on the forecast topic: [(written at, in ms; status)] in the order of writing."""

    def __init__(self, settings):
        self.settings = settings

    def written(self):
        messages = read_topic(self.settings, FORECAST)
        return sorted((message.timestamp_ms, json.loads(message.value)["status"]) for message in messages)

    def wait(self, condition, seconds, what):
        give_up = time.monotonic() + seconds
        while not condition(found := self.written()):
            assert time.monotonic() < give_up, f"waited {seconds:g} s for {what}; {Counter(s for _, s in found)}"
            time.sleep(0.2)
        return found


def test_without_triton_forecasts_go_on_as_fallback_and_return_to_the_model(servers, settings):
    found = Forecasts(settings)
    with pipeline(settings) as live, Playing(settings) as playing:
        found.wait(lambda all_: sum(status == "model" for _, status in all_) > 20, 90, "forecasts of the model")
        servers.kill("triton")
        killed_ms = time.time_ns() // 1_000_000
        until = time.monotonic() + OUTAGE_SECONDS
        found.wait(lambda _: time.monotonic() > until, OUTAGE_SECONDS + 10, "the end of the outage")
        asked_ms = time.time_ns() // 1_000_000
        servers.start("triton")
        up_ms = time.time_ns() // 1_000_000
        found.wait(lambda all_: any(at > asked_ms and status == "model" for at, status in all_), 60, "the model")
        playing.__exit__()
        live.wait_until_done(seconds=120)
    every = found.written()
    # One deadline may pass before the first forecast without an answer.
    out = [(at, status) for at, status in every if killed_ms + 1_000 < at < asked_ms]
    times = sorted({at for at, _ in out})
    silence_ms = max(np.diff([killed_ms, *times, asked_ms]))
    back_ms = min(at for at, status in every if at > asked_ms and status == "model") - up_ms
    figures = f"{len(out)} forecasts in {OUTAGE_SECONDS:g} s, longest silence {silence_ms} ms, back after {back_ms} ms"
    print(figures)  # noqa: T201 - the measurement itself, shown by pytest -s
    assert {status for _, status in out} == {"fallback"}, figures
    assert silence_ms < 8_000, figures
    assert back_ms <= 10_000
    records = forecasts(settings)
    assert {(f["instrument_id"], f["origin_time_ns"]) for f in records.values()} == scheduled(first_rows(settings))


def test_damaged_messages_are_dead_letters_and_nothing_else_changes(settings):
    damaged = []
    fill(
        settings,
        damage(market(5, START_NS, 120), 0.01, seed=1, on_damage=lambda _, became: damaged.append(became)),
    )
    reset(settings)
    with pipeline(settings, ROWS_ONLY) as live:
        live.wait_until_done(seconds=120)
        assert live.said == []
    letters = list(read_topic(settings, DEAD_LETTER))
    raw = {
        (topic, message.partition, message.offset): message
        for topic in RAW_TOPICS
        for message in read_topic(settings, topic)
    }
    origins = {origin(letter): letter for letter in letters}
    assert len(damaged) > 50
    assert len(origins) == len(letters) == len(damaged)
    for place, letter in origins.items():
        was = raw[place]
        assert (letter.key, letter.value) == (was.key, was.value)
        assert was.headers.items() <= letter.headers.items()
        assert letter.headers["x-dlq-stage"] == b"ingest"
        assert letter.headers["x-dlq-reason"]
        where = "{}[{}]@{}".format(*place)
        assert letter.headers["__streams.errors.message"].decode().startswith(where)
    assert Counter(content(m.key, m.value, m.headers) for m in letters) == Counter(
        content(m.key, m.value, m.headers()) for m in damaged
    )
    assert not origins.keys() & stamps(settings)
    assert rows_hash(first_rows(settings)) == rows_hash(backfill_topics(settings))


def origin(letter):
    headers = {name: letter.headers[f"__streams.errors.{name}"].decode() for name in ("topic", "partition", "offset")}
    return headers["topic"], int(headers["partition"]), int(headers["offset"])


def content(key, value, headers):
    return key, value, headers["source"], headers["format"], headers["receive_time_ns"]


def stamps(settings):
    """(raw topic, raw partition, raw offset) of every event of the canonical topics."""
    found = set()
    for raw_topic in RAW_TOPICS:
        for message in read_topic(settings, FEEDS[raw_topic]):
            if message.value:
                batch = decode_batch(message.value)
                places = zip(batch.numbers("raw_partition").tolist(), batch.numbers("raw_offset").tolist(), strict=True)
                found |= {(raw_topic, *place) for place in places}
    assert found
    return found


ORDER_FLOW = '''"""Order-flow features."""
from featurestore import feature, tile
from schemas import Trade


@tile(Trade)
def signed_volume(size, side):
    """Buyer minus seller volume, in base units."""
    return (size * side).sum()


@feature(window="5m")
def order_flow_imbalance(signed_volume, volume):
    """Signed volume over total volume, in [-1, 1]."""
    return signed_volume.sum(-1) / volume.sum(-1)
'''
PARTS = ("schemas", "featurestore", "triton_models", "streams", "deploy", "tests")


@pytest.fixture
def order_flow(tmp_path):
    """A folder with the quant's file alone."""
    folder = tmp_path / "quant"
    folder.mkdir()
    (folder / "order_flow.py").write_text(ORDER_FLOW)
    return folder


@pytest.fixture
def checkout(tmp_path, order_flow):
    """A copy of this checkout with a quant's new file in it, and no other edit."""
    folder = tmp_path / "checkout"
    for part in PARTS:
        shutil.copytree(CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    shutil.copy(order_flow / "order_flow.py", folder / "featurestore" / "features")
    return folder


def test_a_new_file_of_features_is_in_the_rows_and_in_the_automatic_tests(settings, checkout, order_flow):
    # Safe path: `python -c` would else find this checkout, where it stands, before the copy.
    ours = {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
    environment = os.environ | settings.environment() | ours
    create_topics(settings)
    announce = [sys.executable, "-c", "from streams.cli import main; main()", "features", "announce"]
    subprocess.run(announce, env=environment, check=True, timeout=60)
    replay(market(5, START_NS, 420, intensity=0.3), raw_producer(settings), settings.rules)  # 5m windows fill
    with pipeline(settings, ROWS_ONLY, environment=ours) as live:
        live.wait_until_done(seconds=120)
    rows = first_rows(settings)
    messages = [decode_rows(value) for value in rows.values()]
    column = np.concatenate([each.values[:, each.features.index("order_flow_imbalance_5m")] for each in messages])
    known = column[np.isfinite(column)]
    assert len(known) > 100
    assert np.abs(known).max() <= 1
    catalogue = Catalogue.discover(settings.rules, folders=[order_flow])
    assert rows_hash(backfill_topics(settings, catalogue)) == rows_hash(rows)


def test_a_new_file_of_features_is_checked_without_a_test_of_its_own(checkout):
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    tests = "tests/unit/featurestore/test_features.py"
    command = [sys.executable, "-m", "pytest", "-v", tests, "-k", "order_flow_imbalance_5m or signed_volume"]
    options = {"cwd": checkout, "env": environment, "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(command, check=False, **options)
    assert done.returncode == 0, done.stdout[-2000:]
    for name in ("order_flow_imbalance_5m", "signed_volume"):
        assert f"test_every_tile_and_feature_keeps_the_automatic_checks[ticks-{name}] PASSED" in done.stdout
