import urllib.error
import urllib.request

import pytest

from deploy.ports import free_ports
from schemas.metrics import BREAKER_STATE
from streams.metrics_server import Metrics, MetricsServer


@pytest.fixture
def asked():
    metrics = Metrics("infer")
    port = free_ports().kafka
    server = MetricsServer(metrics, port)

    def ask(path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    yield metrics, ask
    server.close()


def test_a_process_is_ready_once_it_has_started_and_the_model_answers(asked):
    metrics, ask = asked
    assert ask("/ready") == (503, "starting\n")
    assert ask("/live") == (200, "live\n")
    metrics[BREAKER_STATE].set(2)
    metrics.tell_build("rules")
    assert ask("/ready") == (503, "no model answered its canary: forecasts are fallbacks\n")
    metrics[BREAKER_STATE].set(0)
    assert ask("/ready") == (200, "ready\n")


def test_metrics_are_served_beside_health(asked):
    status, text = asked[1]("/metrics")
    assert status == 200
    assert "foreshock_breaker_state" in text


def test_a_process_that_has_no_breaker_is_ready_without_one():
    metrics = Metrics("ingest")
    assert metrics.unready() == "starting"
    metrics.tell_build("rules")
    assert metrics.unready() == ""
