import urllib.request

import pytest

from deploy.ports import free_ports
from schemas.errors import SettingsError
from schemas.metrics import INFERENCE_DURATION, METRICS, OFFSET_LAG
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
