"""tritonserver on this machine, from the wheel that carries its binary, with the Python backend on the CPU."""

import compileall
import http.client
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from deploy.cache import CHECKOUT, cache_dir, fingerprint, once
from deploy.daemon import Daemon
from deploy.environment import packages
from deploy.interpreter import shared_library
from deploy.ports import LOOPBACK, Ports, require_free
from schemas.errors import StackError

REPOSITORY = CHECKOUT / "triton_models" / "repository"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel keeps it; not a place for temporary files
READY_SECONDS = 180.0  # each model imports torch, one after the other on a small machine
STOP_SECONDS = 15.0


def triton_folder() -> Path:
    """Return the folder with ``tritonserver`` and ``backends``, fetched once."""
    wheel = packages("triton")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return once(
        cache_dir() / "triton" / fingerprint(str(wheel), python), lambda target: _arrange(target, wheel, python)
    )


def _arrange(target: Path, wheel: Path, python: str) -> None:
    """Lay out what tritonserver expects: beside its backend the stub of this Python's version."""
    unpacked = wheel / "pytriton" / "tritonserver"
    backend = target / "backends" / "python"
    shutil.copytree(unpacked / "backends" / "python", backend)
    stub = backend / "triton_python_backend_stub"
    shutil.copy(unpacked / "python_backend_stubs" / python / stub.name, stub)
    stub.chmod(0o755)
    (unpacked / "bin" / "tritonserver").chmod(0o755)
    (target / "tritonserver").symlink_to(unpacked / "bin" / "tritonserver")
    (target / "libraries").symlink_to(wheel / "nvidia_pytriton.libs")


def repository_models(repository: Path = REPOSITORY) -> tuple[str, ...]:
    """Return the names of the models in `repository`, sorted."""
    return tuple(sorted(path.parent.name for path in repository.glob("*/config.pbtxt")))


class TritonServer:
    """A tritonserver that serves `models` of `repository`; its state is the pid file and log in `folder`."""

    name = "triton"

    def __init__(self, folder: Path, ports: Ports, repository: Path, models: Sequence[str]) -> None:
        self._ports = ports
        self._repository = repository
        self._models = models
        self._prefix = f"foreshock-{fingerprint(str(folder))}-"
        self.daemon = Daemon(self.name, folder)

    def start(self) -> None:
        """Start it and return when it lives with all models loaded; where it already runs as asked, do nothing.

        Raises StackError if it cannot be fetched or started, or a model does not load.
        """
        self._require_models()
        command, environment = self._command(), _environment()
        configuration = fingerprint(command, environment)
        if not self.daemon.serves(configuration, self.is_live):
            self.stop()
            _compile(self._repository)
            ports = self._ports
            require_free(
                "Triton",
                triton_http_port=ports.triton_http,
                triton_grpc_port=ports.triton_grpc,
                triton_metrics_port=ports.triton_metrics,
            )
            self.daemon.start(command, environment, configuration)
            self.daemon.wait_until(self.is_live, READY_SECONDS)

    def stop(self) -> None:
        """Stop it cleanly, also what a crash of it left: backend processes and their shared memory."""
        self.daemon.stop(STOP_SECONDS)
        for region in SHARED_MEMORY.glob(f"{self._prefix}*"):
            region.unlink(missing_ok=True)

    def is_live(self) -> bool:
        """Say whether the server answers and has loaded its models.

        That is enough for a start. Later it stays true over a dead model: only an inference tells.
        """
        paths = ("/v2/health/live", *(f"/v2/models/{model}/ready" for model in self._models))
        return all(self._answers_ok(path) for path in paths)

    def _answers_ok(self, path: str) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self._ports.triton_http, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _require_models(self) -> None:
        known = repository_models(self._repository)
        missing = [model for model in self._models if model not in known]
        if missing:
            raise StackError(
                f"Triton: {self._repository} has no model {missing[0]!r}.\nIt has: {', '.join(known) or 'none'}."
            )

    def _command(self) -> list[str]:
        folder = triton_folder()
        return [
            str((folder / "tritonserver").resolve()),
            f"--model-repository={self._repository}",
            f"--backend-directory={folder / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in self._models),
            # A model that cannot be unloaded must neither turn readiness off for good nor hold up the exit.
            "--strict-readiness=false",
            "--exit-timeout-secs=5",
            *(f"--{door}-address={LOOPBACK}" for door in ("http", "grpc", "metrics")),
            f"--http-port={self._ports.triton_http}",
            f"--grpc-port={self._ports.triton_grpc}",
            f"--metrics-port={self._ports.triton_metrics}",
            "--allow-cpu-metrics=false",
            "--allow-gpu-metrics=false",
        ]


def _compile(repository: Path) -> None:
    """Write the bytecode of each version's `model.py` before the backend does.

    It ignores PYTHONDONTWRITEBYTECODE, and what it writes while a version loads is a change of that
    version to Triton: the next load, of whatever version, would load it anew.
    """
    for source in repository.glob("*/*/model.py"):
        compileall.compile_file(source, quiet=2)


def _environment() -> dict[str, str]:
    library = shared_library()
    if library is None:
        raise StackError(
            f"{sys.executable} has no shared library, which Triton's Python backend loads.\n"
            "Install it (Debian: apt install libpython3.11) or name another Python with FORESHOCK_PYTHON."
        )
    bin_folder = Path(sys.prefix) / "bin"
    return {
        "LANG": "C.UTF-8",
        "HOME": os.environ.get("HOME", "/"),
        "LD_LIBRARY_PATH": f"{triton_folder() / 'libraries'}:{library.parent}",
        "PATH": f"{bin_folder}:/usr/bin:/bin",
        "PYTHONPATH": f"{sysconfig.get_path('purelib')}:{CHECKOUT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        # One thread a model: several models share few cores, and a sum's bits do not depend on a split.
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
