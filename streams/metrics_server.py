"""The metrics of one process, made from their declarations and served to Prometheus."""

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import BaseServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, make_wsgi_app
from prometheus_client.registry import Collector

from schemas.errors import SettingsError
from schemas.metric import Metric
from schemas.metrics import BREAKER_STATE, BUILD_INFO, LIVE, METRICS
from streams.health import bind, with_health
from streams.version import app_version

LOOPBACK = "127.0.0.1"


class Metrics:
    """The declared metrics of one process in a registry of its own, never the global one.

    With `stage`, what other stages tell is served only once it is set here: a breaker that is closed, told by
    a process that has none, would be a lie.

    >>> from schemas.metrics import ROWS
    >>> metrics = Metrics()
    >>> metrics[ROWS].labels(partition="0").inc(3)
    >>> metrics.value(ROWS, partition="0")
    3.0
    """

    def __init__(self, stage: str | None = None) -> None:
        self.registry = CollectorRegistry()
        self._first = _Asked()
        self.registry.register(self._first)
        ProcessCollector(registry=self.registry)
        told = [metric for metric in METRICS if stage is None or stage in metric.by]
        self._collectors = {metric.name: _collector(metric, self.registry) for metric in told}

    def __getitem__(self, metric: Metric) -> Any:
        """Return the Counter, Gauge or Histogram of a declared metric."""
        if metric.name not in self._collectors:
            self._collectors[metric.name] = _collector(metric, self.registry)
        return self._collectors[metric.name]

    def before_each_look(self, call: Callable[[], None]) -> None:
        """Have `call` bring metrics up to date whenever somebody asks for them, in the thread of who asks."""
        self._first.calls.append(call)

    def tell_age(self, metric: Metric, since_seconds: float, clock: Callable[[], float], *labels: str) -> None:
        """Have a gauge say how long ago something was whenever it is looked at: it goes on where nothing comes."""
        self._child(metric, *labels).set_function(lambda: clock() - since_seconds)

    def _child(self, metric: Metric, *labels: str) -> Any:
        return self[metric].labels(*labels) if labels else self[metric]

    def forget(self, metric: Metric, *labels: str) -> None:
        """Stop serving one series: what another process reports now must not stand here as well."""
        with suppress(KeyError):
            self[metric].remove(*labels)

    def tell_build(self, rules_id: str, feature_set_id: str = "") -> None:
        """Say what this process is; `feature_set_id` of the features that it makes or reads, if any."""
        self[BUILD_INFO].labels(app_version(), rules_id, feature_set_id).set(1)

    def tell_live(self, *, live: bool) -> None:
        """Say whether times in what is read may be held against the clock."""
        self[LIVE].set(live)

    def unready(self) -> str:
        """Return why the process is not ready, "" where it is: it has started, and of infer the model answers."""
        if not self[BUILD_INFO].collect()[0].samples:
            return "starting"
        if BREAKER_STATE.name in self._collectors and self.value(BREAKER_STATE):
            return "no model answered its canary: forecasts are fallbacks"
        return ""

    def value(self, metric: Metric, **labels: str) -> float:
        """Return the present value of a counter or gauge; 0 where it was never set."""
        return self.registry.get_sample_value(metric.name, labels) or 0.0


class _Asked(Collector):
    """Collects nothing: it is asked before all others, and passes that on."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def collect(self) -> Iterable[Any]:
        for call in self.calls:
            call()
        return ()


def _collector(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind == "counter":
        return Counter(metric.name, metric.meaning, metric.labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.meaning, metric.labels, registry=registry)
    return Histogram(metric.name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets)


class MetricsServer:
    """Serves a process's metrics, and whether it is live and ready, on loopback or `address`; port 0 serves none."""

    def __init__(self, metrics: Metrics, port: int, address: str = LOOPBACK) -> None:
        self._server: BaseServer | None = None
        self._thread: threading.Thread | None = None
        if port:
            application = with_health(make_wsgi_app(metrics.registry), metrics.unready)
            try:
                self._server = bind(application, address, port)
            except OSError as error:
                raise SettingsError(f"FORESHOCK_METRICS_PORT: cannot listen on {port}: {error.strerror}") from None
            self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
