"""Infer and score as real processes on real Kafka and Triton: rows in, forecasts and scores out, whatever dies."""

import json
import time
from collections import Counter

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from deploy.stack import private_stack
from schemas.calibration import Calibration
from schemas.forecasts import Attention, Forecast, ForecastScore, decode_json
from schemas.instruments import partition_of
from schemas.rows import AGED, RowHeader, Rows, encode_rows, row_headers
from schemas.rules import SECOND_NS
from schemas.topics import ATTENTION, CALIBRATION, DEAD_LETTER, FEATURE_ROW, FORECAST, FORECAST_LATEST, FORECAST_SCORE
from streams.chaos.live import pipeline
from streams.cli import app
from streams.explain.finding import find
from streams.infer.explanations import is_sampled
from streams.infer.models import read_models
from streams.kafka import Outbox, create_topics, read_topic
from tests.integration.live import settings_for
from triton_models.explanation.explain import explain
from triton_models.export import REPOSITORY
from triton_models.predictor import Batch as Inputs
from triton_models.predictor import Predictor

pytestmark = pytest.mark.timeout(400)
MODELS = read_models("ticks")
START_NS = 1_767_225_600 * SECOND_NS
EXPLAIN_EVERY = 5
INSTRUMENTS = ("binance:BTC-USDT", "binance:ETH-USDT", "binance-usdm:ETH-USDT-PERP")


class Rowing:
    """Writes feature rows, and reads what became of them."""

    def __init__(self, settings):
        self.settings = settings
        self.outbox = Outbox(settings, "test")
        self.random = np.random.default_rng(4)
        self.scheduled = set()

    def write(self, second):
        """Write the rows of one second, one message for each partition that has instruments."""
        time_ns = START_NS + second * SECOND_NS
        by_partition = {}
        for name in INSTRUMENTS:
            asset = name.partition(":")[2].partition("-")[0]
            by_partition.setdefault(partition_of(asset, self.settings.partitions), []).append(name)
        for partition, names in by_partition.items():
            header = RowHeader(time_ns, partition, self.settings.rules.rules_id, "f" * 12)
            self.outbox.send(
                FEATURE_ROW, encode_rows(self.rows(header, names)), partition=partition, headers=row_headers(header)
            )
            self.scheduled |= {f"{name}@{time_ns}" for name in names}

    def rows(self, header, names):
        columns = []
        for name in MODELS.shape.features:
            scale = 1e-7 if "variance" in name else 0.1
            columns.append(scale * np.exp(self.random.normal(0, 0.3, len(names))))
        ages = np.full((len(names), len(AGED)), 0.2)
        bits = np.zeros(len(names), np.uint32)
        return Rows(header, tuple(names), MODELS.shape.features, np.stack(columns, axis=1), ages, bits)

    def read(self, topic, kind):
        return [decode_json(message.value, kind) for message in read_topic(self.settings, topic)]

    def forecasts(self):
        return self.read(FORECAST, Forecast)

    def wait(self, condition, seconds, what):
        give_up = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up, f"waited {seconds} s for {what}"
            time.sleep(0.3)

    def wait_for_all(self, seconds=60):
        self.outbox.flush_acknowledged(20)
        self.wait(lambda: {f.id for f in self.forecasts()} >= self.scheduled, seconds, "every scheduled forecast")


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    names = [network.name for network in MODELS.networks]
    with private_stack(tmp_path_factory.mktemp("infer"), models=names) as stack:
        yield stack


@pytest.fixture(scope="module")
def run(servers, tmp_path_factory):
    """Infer and score at work on 150 seconds of rows, while infer is killed three times and score once."""
    settings = settings_for(
        servers, tmp_path_factory.mktemp("state"), checkpoint_seconds=1.0, explain_every=EXPLAIN_EVERY
    )
    create_topics(settings)
    rowing = Rowing(settings)
    with pipeline(settings, ("infer", "score")) as live:
        for second in range(150):
            rowing.write(second)
            if second in {20, 60, 61, 100}:
                time.sleep(1.5)
                live.supervisor.kill("infer-0" if second != 61 else "score-0")
        rowing.wait_for_all()
        rowing.exits = live.supervisor.exits("infer-0"), live.supervisor.exits("score-0")
        wanted = 3 * 90  # forecasts of one minute that have ended
        rowing.wait(lambda: len({s.id for s in rowing.read(FORECAST_SCORE, ForecastScore)}) >= wanted, 60, "scores")
        yield rowing, live


def test_every_scheduled_forecast_is_there_once_and_in_order(run):
    rowing, _ = run
    found = rowing.forecasts()
    assert rowing.exits == ([-9] * 3, [-9])
    assert {forecast.id for forecast in found} == rowing.scheduled
    repeats = Counter(forecast.id for forecast in found)
    assert max(repeats.values()) == 1
    for name in INSTRUMENTS:
        origins = [forecast.origin_time_ns for forecast in found if forecast.instrument_id == name]
        assert origins == sorted(origins)


def test_forecasts_come_from_both_networks_beside_log_har(run):
    rowing, _ = run
    found = rowing.forecasts()
    from_model = [forecast for forecast in found if forecast.status == "model"]
    assert len(from_model) > 0.8 * len(found), Counter(forecast.reason for forecast in found)
    assert all(forecast.experts.keys() >= {"har", "lstm", "performer"} for forecast in from_model)
    for forecast in found:
        for horizon in forecast.horizons.values():
            assert list(horizon.quantiles.values()) == sorted(horizon.quantiles.values())
    attention = {one.id: one for one in rowing.read(ATTENTION, Attention)}
    assert attention.keys() == {forecast.id for forecast in from_model}
    for one in attention.values():
        assert sum(one.modalities.values()) == pytest.approx(1, abs=1e-4)


def test_sampled_forecasts_are_explained_beside_their_way(run):
    rowing, _ = run
    explained = [one for one in rowing.read(ATTENTION, Attention) if one.contributions]
    assert explained
    for one in explained:
        assert is_sampled(one.id, EXPLAIN_EVERY)
        assert set(one.contributions) == set(MODELS.horizons)
        assert all(set(lost) == set(one.modalities) for lost in one.contributions.values())
        if one.faithfulness:
            assert abs(one.faithfulness[0]) <= 1


def test_a_forecast_is_found_and_made_again_from_its_receipt(run):
    rowing, _ = run
    forecast = next(one for one in reversed(rowing.forecasts()) if one.status == "model")
    found = find(rowing.settings, forecast.id, "performer", 10 * SECOND_NS, REPOSITORY)
    assert found.forecast == forecast
    features, mask, age = (torch.from_numpy(part)[None] for part in found.seen)
    answer = Predictor(found.bundle).predict(Inputs(features, mask, age, torch.tensor([[forecast.origin_time_ns]])))
    assert answer["mean"][0].tolist() == list(forecast.experts["performer"].means.values())
    explanation = explain(
        Predictor(found.bundle),
        found.seen,
        found.before,
        horizon="1m",
        origin_time_ns=forecast.origin_time_ns,
        forecast_id=forecast.id,
    )
    assert np.exp(explanation.value) == pytest.approx(forecast.experts["performer"].means["1m"], rel=1e-6)


def test_the_latest_topic_ends_with_the_last_forecast_of_each_instrument(run):
    rowing, _ = run
    latest = {message.key: message.value for message in read_topic(rowing.settings, FORECAST_LATEST)}
    last = {m.key: m.value for m in read_topic(rowing.settings, FORECAST)}
    assert latest == last
    assert len(latest) == 3


def test_log_har_is_scored_beside_every_forecast_and_calibration_follows(run):
    rowing, _ = run
    found = {score.id: score for score in rowing.read(FORECAST_SCORE, ForecastScore)}
    assert all({"combined", "har"} <= score.scores.keys() for score in found.values())
    states = {(state.instrument_id, state.horizon): state for state in rowing.read(CALIBRATION, Calibration)}
    assert {name for name, _ in states} == set(INSTRUMENTS)
    assert all(state.count <= 90 for state in states.values())
    for state in states.values():
        assert state.trust.keys() == state.weights.keys() == state.quantile_weights.keys() >= {"lstm", "performer"}
        assert any(state.shared_shifts)


def test_what_score_learned_is_what_forecasts_are_made_with(run):
    rowing, _ = run
    states = {}
    for state in rowing.read(CALIBRATION, Calibration):
        states.setdefault((state.instrument_id, state.horizon), []).append(state)
    applied = 0
    for forecast in rowing.forecasts():
        for horizon, calibration in forecast.calibration.items():
            known = states.get((forecast.instrument_id, horizon), [])
            assert calibration.shifts == (0.0,) * 7 or any(
                calibration.shifts == shifts_of(state, calibration.regime) for state in known
            )
            applied += any(calibration.shifts)
        if forecast.status == "model":
            for horizon in forecast.horizons:
                weights = [expert.weights[horizon] for expert in forecast.experts.values()]
                assert np.sum(weights, axis=0) == pytest.approx([1.0, 1.0])
    assert applied > 100


def shifts_of(state, regime):
    """Return what a state adds in a regime."""
    own = np.array(state.regime_shifts)[regime] if regime >= 0 else np.zeros(7)
    return tuple((np.array(state.shared_shifts) + own).tolist())


def test_a_dead_triton_gives_fallbacks_and_a_living_one_models_again(run, servers):
    rowing, _ = run
    servers.kill("triton")
    for second in range(150, 158):
        rowing.write(second)
        time.sleep(0.3)
    rowing.wait_for_all(30)
    dead = [f for f in rowing.forecasts() if f.origin_time_ns >= START_NS + 150 * SECOND_NS]
    assert {forecast.status for forecast in dead} == {"fallback"}
    assert {forecast.model.name for forecast in dead} == {"har"}
    servers.start("triton")
    up = time.monotonic()
    second = 158
    while rowing.forecasts()[-1].status != "model":
        assert time.monotonic() - up < 10
        rowing.write(second)
        second += 1
        time.sleep(0.3)
    rowing.wait_for_all(30)


def test_random_forecasts_of_both_kinds_are_identical_when_computed_again(run):
    rowing, _ = run
    arguments = ["rebuild", "--random", "200", "--seed", "1", "--json"]
    result = CliRunner().invoke(app, arguments, env=rowing.settings.environment())
    verdicts = {told["id"]: told for told in map(json.loads, result.stdout.splitlines())}
    assert {told["verdict"] for told in verdicts.values()} == {"identical"}, result.output
    assert result.exit_code == 0
    status = {forecast.id: forecast.status for forecast in rowing.forecasts()}
    assert Counter(status[found] for found in verdicts).keys() == {"model", "fallback"}
    assert len(verdicts) == 200


def test_bytes_that_are_no_row_are_dead_letters_and_stop_nothing(run):
    rowing, _ = run
    rowing.outbox.send(FEATURE_ROW, b"no row", partition=0)
    rowing.write(300)
    rowing.wait_for_all(30)
    letters = list(read_topic(rowing.settings, DEAD_LETTER))
    assert {letter.headers["x-dlq-stage"] for letter in letters} == {b"infer", b"score"}
    assert {letter.value for letter in letters} == {b"no row"}
