"""The metrics of one process, made from their declarations and served to Prometheus."""

import threading
from contextlib import suppress
from socketserver import BaseServer
from typing import Any, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from schemas.errors import SettingsError
from schemas.metrics import BUILD_INFO, METRICS, Metric
from streams.version import app_version

LOOPBACK = "127.0.0.1"


class Metrics:
    """The declared metrics of one process in a registry of its own, never the global one.

    >>> from schemas.metrics import ROWS
    >>> metrics = Metrics()
    >>> metrics[ROWS].labels(partition="0").inc(3)
    >>> metrics.value(ROWS, partition="0")
    3.0
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._collectors = {metric.name: _collector(metric, self.registry) for metric in METRICS}

    def __getitem__(self, metric: Metric) -> Any:
        """Return the Counter, Gauge or Histogram of a declared metric."""
        return self._collectors[metric.name]

    def forget(self, metric: Metric, *labels: str) -> None:
        """Stop serving one series: what another process reports now must not stand here as well."""
        with suppress(KeyError):
            self[metric].remove(*labels)

    def tell_build(self, rules_id: str, feature_set_id: str = "") -> None:
        """Say what this process is; `feature_set_id` of the features that it makes or reads, if any."""
        self[BUILD_INFO].labels(app_version(), rules_id, feature_set_id).set(1)

    def value(self, metric: Metric, **labels: str) -> float:
        """Return the present value of a counter or gauge; 0 where it was never set."""
        return self.registry.get_sample_value(metric.name, labels) or 0.0


def _collector(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind == "counter":
        return Counter(metric.name, metric.meaning, metric.labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.meaning, metric.labels, registry=registry)
    return Histogram(metric.name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets)


class MetricsServer:
    """Serves a process's metrics on loopback; port 0 serves none."""

    def __init__(self, metrics: Metrics, port: int) -> None:
        self._server: BaseServer | None = None
        self._thread: threading.Thread | None = None
        if port:
            try:
                server, self._thread = start_http_server(port, addr=LOOPBACK, registry=metrics.registry)
            except OSError as error:
                raise SettingsError(f"FORESHOCK_METRICS_PORT: cannot listen on {port}: {error.strerror}") from None
            self._server = cast("BaseServer", server)

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
