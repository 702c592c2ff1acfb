"""Versions on real Kafka and Triton: in shadow, refused, promoted, rolled back, whatever dies in shadow."""

import time

import numpy as np
import psutil
import pytest
from msgspec import structs
from typer.testing import CliRunner

from deploy.stack import private_stack
from schemas.decisions import ModelDecision
from schemas.forecasts import Forecast, ForecastScore, decode_json
from schemas.instruments import partition_of
from schemas.rows import AGED, RowHeader, Rows, encode_rows, row_headers
from schemas.rules import MINUTE_NS
from schemas.topics import FEATURE_ROW, FORECAST, FORECAST_SCORE, OPS_MODEL
from streams.chaos.live import pipeline
from streams.cli import app
from streams.infer.models import read_models
from streams.kafka import Outbox, create_topics, read_topic
from tests.integration.live import settings_for
from triton_models.bundle import read
from triton_models.evaluation.promotion import NEEDED
from triton_models.export import REPOSITORY, publish
from triton_models.har import window_ns

pytestmark = pytest.mark.timeout(400)
START_NS = 1_767_225_600_000_000_000
INSTRUMENTS = ("binance:BTC-USDT", "binance:ETH-USDT")
ENOUGH = NEEDED["1m"] + 5
RATE_PER_NS = 1e-18
"""Realised variance: 18 % volatility a year."""
TOO_HIGH = 0.8
"""What version 1 adds to the log of every forecast: twice too high a variance."""


def publish_version(repository, version, bias):
    """Write networks that say what log-HAR says, times exp(bias)."""
    for name in ("lstm-ticks", "performer-ticks"):
        bundle = read(REPOSITORY / name / "1")
        out = np.zeros_like(bundle.weights["head.out.bias"]).reshape(len(bundle.spec.horizons), -1)
        out[:, :2] = bias  # log mean and log median
        weights = {
            **bundle.weights,
            "head.out.weight": np.zeros_like(bundle.weights["head.out.weight"]),
            "head.out.bias": out.reshape(-1),
        }
        publish(structs.replace(bundle.spec, version=version), weights, repository)


class Run:
    """Rows at every minute, and what became of them."""

    def __init__(self, settings, stack):
        self.settings = settings
        self.stack = stack
        self.outbox = Outbox(settings, "test")
        self.random = np.random.default_rng(5)
        self.features = read_models("ticks", REPOSITORY).shape.features
        self.minute = 0

    def write(self, minutes):
        for _ in range(minutes):
            for name in INSTRUMENTS:
                partition = partition_of(name.partition(":")[2].partition("-")[0], self.settings.partitions)
                time_ns = START_NS + self.minute * MINUTE_NS
                header = RowHeader(time_ns, partition, self.settings.rules.rules_id, "f" * 12)
                value = encode_rows(self.rows(header, name))
                self.outbox.send(FEATURE_ROW, value, partition=partition, headers=row_headers(header))
            self.minute += 1
        self.outbox.flush_acknowledged(20)
        self.wait(lambda: len(self.forecasts()) >= self.minute * len(INSTRUMENTS), 60, "all forecasts")

    def rows(self, header, name):
        level = RATE_PER_NS * np.exp(self.random.normal(0, 0.2))
        values = [
            level * window_ns(feature) if "variance" in feature else 0.1 * self.random.normal()
            for feature in self.features
        ]
        ages, bits = np.full((1, len(AGED)), 0.2), np.zeros(1, np.uint32)
        return Rows(header, (name,), self.features, np.array([values]), ages, bits)

    def read(self, topic, kind):
        return [decode_json(message.value, kind) for message in read_topic(self.settings, topic)]

    def forecasts(self, *, since=0):
        return [one for one in self.read(FORECAST, Forecast) if one.origin_time_ns >= START_NS + since * MINUTE_NS]

    def decisions(self):
        return [decode_json(m.value, ModelDecision) for m in read_topic(self.settings, OPS_MODEL)]

    def scored(self, expert):
        """How many origins of 1m have a score of the expert."""
        found = self.read(FORECAST_SCORE, ForecastScore)
        return len({one.origin_time_ns for one in found if one.horizon == "1m" and expert in one.scores})

    def model(self, *arguments):
        return CliRunner().invoke(app, ["model", *arguments], env=self.settings.environment())

    def wait(self, condition, seconds, what):
        give_up = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up, f"waited {seconds} s for {what}"
            time.sleep(0.3)

    def until_shown(self, expert):
        """Write rows until forecasts hold the expert; return from which minute on."""
        began = time.monotonic()
        while True:
            since = self.minute
            self.write(1)
            if all(expert in one.experts for one in self.forecasts(since=since)):
                return since
            assert time.monotonic() - began < 90, f"{expert} is not asked"
            time.sleep(0.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A stack that serves a copy of the repository with one version, and the two stages at work on it."""
    repository = tmp_path_factory.mktemp("repository")
    publish_version(repository, "1", TOO_HIGH)
    with private_stack(tmp_path_factory.mktemp("stack"), repository=repository) as stack:
        state = tmp_path_factory.mktemp("state")
        # Two versions load while forecasts are made: that their deadline holds on two cores is another matter.
        settings = settings_for(
            stack, state, model_repository=str(repository), partitions=2, inference_deadline_seconds=10.0
        )
        create_topics(settings)
        with pipeline(settings, ("infer", "score")) as live:
            run = Run(settings, stack)
            run.live, run.repository = live, repository
            yield run


def test_a_version_that_only_lies_there_changes_nothing(run):
    run.write(3)
    publish_version(run.repository, "2", 0.0)
    run.write(3)
    assert {one.model.version for one in run.forecasts()} == {"1+1"}
    assert "version 2 is not in shadow, none is" in str(run.model("promote", "ticks", "2").exception)
    assert "there is no version 7; there is 1, 2" in str(run.model("shadow", "ticks", "7").exception)
    assert "version 1 of ticks is the first" in str(run.model("rollback", "ticks").exception)
    assert run.decisions() == []


def test_a_version_in_shadow_is_loaded_asked_and_scored_and_makes_no_forecast(run):
    result = run.model("shadow", "ticks", "2")
    assert result.exit_code == 0, result.output
    since = run.until_shown("performer@2")
    run.write(5)
    found = run.forecasts(since=since)
    assert {(one.status, one.reason) for one in run.forecasts()} == {("model", "")}
    assert {one.model.version for one in found} == {"1+1"}
    assert all({"lstm", "performer", "lstm@2", "performer@2"} <= one.experts.keys() for one in found)
    assert {one.experts["lstm@2"].weight for one in found} == {0.0}
    run.wait(lambda: run.scored("lstm@2") >= 5, 30, "scores of the version in shadow")


def test_too_few_scores_are_a_refusal_on_the_topic(run):
    result = run.model("promote", "ticks", "2")
    assert result.exit_code == 1
    assert "version 2 is not promoted, version 1 stays: too few origins were scored: 1m" in result.output
    *_, refusal = run.decisions()
    assert (refusal.kind, refusal.version, refusal.before) == ("refuse", "2", "1")
    assert {test.needed for test in refusal.tests if test.horizon == "1m"} == {NEEDED["1m"]}


def test_a_better_version_is_promoted_and_makes_the_forecasts_from_the_border_on(run):
    run.write(ENOUGH)
    run.wait(lambda: run.scored("lstm@2") >= ENOUGH, 60, "scores of the version in shadow")
    result = run.model("promote", "ticks", "2")
    assert result.exit_code == 0, result.output
    *_, decision = run.decisions()
    assert (decision.kind, decision.version, decision.before, decision.forced) == ("promote", "2", "1", False)
    assert "1m by qlike" in decision.reason
    assert all(test.p_better < decision.better_level for test in decision.tests if test.horizon == "1m")
    time.sleep(1.0)  # infer looks twice a second
    run.write(5)
    made = {one.origin_time_ns: one.model.version for one in run.forecasts()}
    assert {version for origin, version in made.items() if origin >= decision.border_ns} == {"2+2"}
    assert {version for origin, version in made.items() if origin < decision.border_ns} == {"1+1"}
    assert "active" in run.model("list").output


def test_a_worse_version_is_refused_with_the_tests_that_say_so(run):
    assert run.model("shadow", "ticks", "1").exit_code == 0
    time.sleep(1.0)
    since = run.until_shown("lstm@1")
    run.write(ENOUGH)
    run.wait(lambda: run.scored("lstm@1") >= ENOUGH, 60, "scores of the version in shadow")
    result = run.model("promote", "ticks", "1")
    assert result.exit_code == 1
    assert "version 1 is not promoted, version 2 stays: significantly worse: 1m by qlike" in result.output
    *_, refusal = run.decisions()
    assert (refusal.kind, refusal.version) == ("refuse", "1")
    assert {one.model.version for one in run.forecasts(since=since)} == {"2+2"}


def test_what_dies_in_shadow_makes_no_fallback_and_is_healed(run):
    served = psutil.Process(run.stack.pid("triton")).children(recursive=True)
    (dead,) = (one for one in served if any(part.endswith("performer-ticks/1/model.py") for part in one.cmdline()))
    dead.kill()
    since = run.minute
    for _ in range(8):
        run.write(1)
        time.sleep(0.3)
    found = run.forecasts(since=since)
    assert {(one.status, one.model.version) for one in found} == {("model", "2+2")}
    assert any("lstm@1" not in one.experts for one in found)
    run.until_shown("performer@1")
    assert {one.status for one in run.forecasts()} == {"model"}


def test_a_rollback_brings_the_version_before_back(run):
    result = run.model("rollback", "ticks")
    assert result.exit_code == 0, result.output
    *_, decision = run.decisions()
    time.sleep(1.0)
    run.write(5)
    after = [one for one in run.forecasts() if one.origin_time_ns >= decision.border_ns]
    assert {(one.status, one.model.version) for one in after} == {("model", "1+1")}
    assert [one.kind for one in run.decisions()] == ["shadow", "refuse", "promote", "shadow", "refuse", "rollback"]
    assert all(set(one.hashes) == {"lstm-ticks", "performer-ticks"} for one in run.decisions())


def test_forecasts_of_every_version_are_identical_when_computed_again(run):
    found = run.forecasts()
    assert {one.model.version for one in found} == {"1+1", "2+2"}
    assert {"lstm@1", "lstm@2"} <= {expert for one in found for expert in one.experts}
    result = CliRunner().invoke(app, ["rebuild", "--random", "10000"], env=run.settings.environment())
    assert result.exit_code == 0, result.output
    assert f"{len(found):,} forecasts: {len(found):,} identical" in result.output
