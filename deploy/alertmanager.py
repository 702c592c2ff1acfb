"""Alertmanager on this machine: gathers what fires, and shows it; it sends nothing anywhere unless told so."""

import shutil
from pathlib import Path

from deploy.cache import DEPLOY, cache_dir, fingerprint, once
from deploy.daemon import Daemon
from deploy.debian import debian_program
from deploy.ports import LOOPBACK, Ports, require_free
from deploy.prometheus import answers

CONFIGURATION = DEPLOY / "monitoring" / "alertmanager.yaml"
"""Who is told is written there; `foreshock up --monitoring` again takes it over."""
READY_SECONDS = 30.0
STOP_SECONDS = 10.0


_BUILT_IN = b"/usr/share/prometheus/alertmanager"
"""Where Debian's looks for its templates and pages; no option names another place."""
_WORKING_FOLDER = b"/proc/self/cwd".ljust(len(_BUILT_IN), b"/")


def alertmanager_command() -> list[str]:
    """Return what starts Alertmanager; raises StackError where it can neither be found nor fetched.

    One that is not installed finds its templates in its working folder, by a path as long as that built in.
    """
    program = debian_program("prometheus-alertmanager", "prometheus-alertmanager")
    templates = program.parent.parent / "share" / "prometheus" / "alertmanager"
    if templates == Path(_BUILT_IN.decode()) or not templates.is_dir():
        return [str(program)]
    moved = once(cache_dir() / "debian" / fingerprint("moved", str(program)), lambda target: _move(program, target))
    return ["/usr/bin/env", f"--chdir={templates}", str(moved / program.name)]


def _move(program: Path, target: Path) -> None:
    moved = target / program.name
    moved.write_bytes(program.read_bytes().replace(_BUILT_IN, _WORKING_FOLDER))
    moved.chmod(0o755)


def amtool_program() -> Path:
    """Return amtool, which comes with it; raises StackError."""
    return debian_program("amtool", "prometheus-alertmanager")


class AlertmanagerServer:
    """An Alertmanager whose silences, pid file and log are in `folder`."""

    name = "alertmanager"

    def __init__(self, folder: Path, ports: Ports) -> None:
        self._folder = folder / self.name
        self._port = ports.alertmanager
        self.daemon = Daemon(self.name, folder)

    def start(self) -> None:
        """Start it and return when it answers; where it already runs as asked, do nothing. Raises StackError."""
        command = [
            *alertmanager_command(),
            f"--config.file={CONFIGURATION}",
            f"--storage.path={self._folder}",
            f"--web.listen-address={LOOPBACK}:{self._port}",
            "--cluster.listen-address=",  # one of them is no cluster
        ]
        state = fingerprint(command, CONFIGURATION.read_bytes())
        if self.daemon.serves(state, self.is_ready):
            return
        self.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        require_free("Alertmanager", alertmanager_port=self._port)
        self.daemon.start(command, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}, state)
        self.daemon.wait_until(self.is_ready, READY_SECONDS)

    def stop(self) -> None:
        """Stop it; silences stay."""
        self.daemon.stop(STOP_SECONDS)

    def forget(self) -> None:
        """Delete its silences."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def is_ready(self) -> bool:
        """Say whether it answers."""
        return answers(self._port)
