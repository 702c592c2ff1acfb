"""Prometheus on this machine: finds the stages by files, Triton and Alertmanager by their ports."""

import http.client
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from deploy.cache import DEPLOY, fingerprint
from deploy.daemon import Daemon
from deploy.debian import debian_program
from deploy.ports import LOOPBACK, Ports, require_free

RULES = (DEPLOY / "monitoring" / "recording.yaml", DEPLOY / "monitoring" / "alerts.yaml")
SCRAPE_SECONDS = 5
RETENTION = "15d"
READY_SECONDS = 60.0
STOP_SECONDS = 15.0


def prometheus_program() -> Path:
    """Return Prometheus; raises StackError where it can neither be found nor fetched."""
    return debian_program("prometheus", "prometheus")


def promtool_program() -> Path:
    """Return promtool, which comes with Prometheus; raises StackError."""
    return debian_program("promtool", "prometheus")


class PrometheusServer:
    """A Prometheus whose data, configuration, pid file and log are in `folder`.

    `targets`: the folder whose `*.json` say where the stages serve their metrics (file service discovery).
    """

    name = "prometheus"

    def __init__(self, folder: Path, ports: Ports, targets: Path, rules: Sequence[Path] = RULES) -> None:
        self._folder = folder / self.name
        self._ports = ports
        self._targets = targets
        self._rules = rules
        self.daemon = Daemon(self.name, folder)

    def start(self) -> None:
        """Start it and return when it answers; where it already runs as asked, do nothing. Raises StackError."""
        command = self._command()
        text = json.dumps(self.configuration(), indent=1)
        state = fingerprint(command, text, *(path.read_bytes() for path in self._rules))
        if self.daemon.serves(state, self.is_ready):
            return
        self.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._targets.mkdir(parents=True, exist_ok=True)
        self._configuration_file.write_text(text)  # JSON is YAML
        require_free("Prometheus", prometheus_port=self._ports.prometheus)
        self.daemon.start(command, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}, state)
        self.daemon.wait_until(self.is_ready, READY_SECONDS)

    def stop(self) -> None:
        """Stop it; what it has recorded stays."""
        self.daemon.stop(STOP_SECONDS)

    def forget(self) -> None:
        """Delete what it has recorded."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def is_ready(self) -> bool:
        """Say whether it answers queries."""
        return answers(self._ports.prometheus)

    def configuration(self) -> dict[str, object]:
        """Return its configuration."""
        every = f"{SCRAPE_SECONDS}s"
        return {
            "global": {"scrape_interval": every, "scrape_timeout": "4s", "evaluation_interval": every},
            "rule_files": [str(path) for path in self._rules],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [f"{LOOPBACK}:{self._ports.alertmanager}"]}]}]
            },
            "scrape_configs": [
                {
                    "job_name": "foreshock",
                    # `stage` is a label of some of our metrics too; both say the same.
                    "honor_labels": True,
                    "file_sd_configs": [{"files": [f"{self._targets}/*.json"], "refresh_interval": every}],
                },
                _fixed("triton", self._ports.triton_metrics),
                _fixed("prometheus", self._ports.prometheus),
                _fixed("alertmanager", self._ports.alertmanager),
            ],
        }

    @property
    def _configuration_file(self) -> Path:
        return self._folder / "prometheus.json"

    def _command(self) -> list[str]:
        program = prometheus_program()
        assets = program.parent.parent / "share" / "prometheus" / "web"
        return [
            str(program),
            f"--config.file={self._configuration_file}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--storage.tsdb.retention.time={RETENTION}",
            f"--web.listen-address={LOOPBACK}:{self._ports.prometheus}",
            # Debian's keeps its pages beside the program, not in it.
            *([f"--web.local-assets={assets}/"] if assets.is_dir() else []),
        ]


def answers(port: int, path: str = "/-/ready") -> bool:
    """Say whether an HTTP server on loopback answers `path` with 200."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _fixed(job: str, port: int) -> dict[str, object]:
    return {"job_name": job, "static_configs": [{"targets": [f"{LOOPBACK}:{port}"]}]}
