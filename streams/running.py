"""The work of `foreshock run`: all stages on this machine, told of and looked after."""

from collections.abc import Callable

from deploy.prometheus import answers
from streams.metrics_server import Metrics, MetricsServer
from streams.run import Supervisor, pieces_of
from streams.run_metrics import RunMetrics, folders_of
from streams.settings import Settings
from streams.targets import Targets

STAGE = "run"


def run_pipeline(settings: Settings, said: Callable[[str], None] = print) -> None:
    """Run every stage, and store and parity if asked, until SIGTERM or SIGINT."""
    pieces = pieces_of(settings)
    port = settings.metrics_port + len(pieces) if settings.metrics_port else 0
    metrics = Metrics(STAGE)
    metrics.tell_live(live=settings.heartbeat_writer == "ingest")
    supervisor = Supervisor(settings, pieces, said)
    RunMetrics(metrics, supervisor, folders_of(settings))
    server = MetricsServer(metrics, port)
    own = Targets(settings)
    own.add(STAGE, port)
    for line in where_to_look(settings, len(pieces)):
        said(line)
    try:
        supervisor.run()
    finally:
        own.clear()
        server.close()


def where_to_look(settings: Settings, processes: int) -> list[str]:
    """Return lines for people: logs, metrics, and what watches them where it runs."""
    lines = [f"{processes} processes, logs in {settings.state_dir / 'logs'}"]
    if settings.metrics_port:
        first = settings.metrics_port
        lines.append(f"metrics on 127.0.0.1:{first} to {first + processes}, listed in {settings.state_dir / 'targets'}")
    if answers(settings.prometheus_port):
        lines.append(f"Prometheus http://127.0.0.1:{settings.prometheus_port}/graph, what it alerts of: /alerts")
        lines.append(f"Alertmanager http://127.0.0.1:{settings.alertmanager_port}, runbooks in deploy/runbooks")
    else:
        lines.append("nobody watches: `foreshock up --monitoring` starts Prometheus and Alertmanager")
    return lines
