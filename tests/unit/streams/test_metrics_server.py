import urllib.request

import pytest

from deploy.ports import free_ports
from schemas.errors import SettingsError
from schemas.foreign_metrics import PROCESS_METRICS
from schemas.metrics import BREAKER_STATE, FORECAST_AGE, INFERENCE_DURATION, METRICS, OFFSET_LAG, ROWS
from streams.metrics_server import Metrics, MetricsServer


def test_declared_metrics_are_served_with_their_names_and_labels():
    metrics = Metrics()
    metrics[OFFSET_LAG].labels("feature.row.v1", "3").set(7)
    metrics[INFERENCE_DURATION].labels(model="m").observe(0.2)
    port = free_ports().kafka
    server = MetricsServer(metrics, port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
        with pytest.raises(SettingsError, match=f"FORESHOCK_METRICS_PORT: cannot listen on {port}"):
            MetricsServer(Metrics(), port)
    finally:
        server.close()
    assert 'foreshock_offset_lag{partition="3",topic="feature.row.v1"} 7.0' in text
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.meaning}" in text


def test_a_forgotten_series_is_gone_and_may_be_forgotten_again():
    metrics = Metrics()
    metrics[OFFSET_LAG].labels("feature.row.v1", "3").set(7)
    for _ in range(2):
        metrics.forget(OFFSET_LAG, "feature.row.v1", "3")
    assert metrics.registry.get_sample_value(OFFSET_LAG.name, {"topic": "feature.row.v1", "partition": "3"}) is None


def test_a_process_tells_nothing_of_what_others_tell_until_it_is_set():
    metrics = Metrics("ingest")
    told = {family.name for family in metrics.registry.collect()}
    assert "foreshock_offset_lag" in told
    assert "foreshock_breaker_state" not in told
    metrics[BREAKER_STATE].set(2)
    assert metrics.value(BREAKER_STATE) == 2


def test_an_age_goes_on_where_nothing_comes():
    now = [10.0]
    metrics = Metrics()
    metrics.tell_age(FORECAST_AGE, 7.0, lambda: now[0], "0")
    assert metrics.value(FORECAST_AGE, partition="0") == 3
    now[0] = 20.0
    assert metrics.value(FORECAST_AGE, partition="0") == 13


def test_what_is_counted_when_somebody_looks_is_in_what_he_sees():
    metrics = Metrics()
    metrics.before_each_look(lambda: metrics[ROWS].labels("0").inc())
    assert metrics.value(ROWS, partition="0") == 1


def test_a_process_tells_when_it_started_and_what_it_uses():
    names = {family.name for family in Metrics().registry.collect()}
    assert {metric.name.removesuffix("_total") for metric in PROCESS_METRICS} <= names
