"""A schema registry on this machine: Apicurio 3.3.3, which speaks Confluent's API. Nothing of Foreshock needs it.

Its storage is in memory: it is for tests and for trying. `python -m deploy.registry` fetches it ahead of its start.
"""

import http.client
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from deploy.cache import DEPLOY, cache_dir, checksums, fingerprint, once, read_checksums, say
from deploy.daemon import Daemon
from deploy.environment import SetupError, packages
from deploy.java import java_program
from deploy.ports import LOOPBACK, require_free
from schemas.errors import StackError

GROUP, NAME, VERSION = "io.apicurio", "apicurio-registry-app", "3.3.3"
COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
OLDEST_JAVA = 21
READY_SECONDS = 120.0
STOP_SECONDS = 10.0
API = "/apis/ccompat/v7"
_SHA256 = DEPLOY / "registry.sha256"
_BY_JGO = f"""
import shutil, sys
from jgo.maven import MavenContext
found = MavenContext(repo_cache=sys.argv[1]).project("{GROUP}", "{NAME}").at_version("{VERSION}")
shutil.copy(found.artifact(classifier="all", packaging="tar.gz").resolve(), sys.argv[2])
"""


def registry_folder() -> Path:
    """Return Apicurio's folder, fetched once (159 MB) and equal to ``deploy/registry.sha256``."""
    return once(cache_dir() / "registry" / fingerprint(_SHA256.read_bytes()), _fetch)


def _fetch(target: Path) -> None:
    say(f"fetching the schema registry: {NAME} {VERSION}")
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        archives = Path(scratch) / "archives"
        archives.mkdir()
        done = subprocess.run(
            _command(scratch, archives),
            env=os.environ | {"PYTHONPATH": "" if shutil.which("mvn") else str(packages("java"))},
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            said = (done.stderr + done.stdout).strip().splitlines() or ["it said nothing"]
            raise StackError(f"the schema registry could not be fetched: {said[-1][:300]}")
        if checksums(archives) != read_checksums(_SHA256):
            raise StackError(
                "the schema registry's archive differs from deploy/registry.sha256; see your Maven settings."
            )
        with tarfile.open(next(archives.iterdir())) as archive:
            archive.extractall(target, filter="data")


def _command(scratch: str, archives: Path) -> list[str]:
    """Return what fetches the archive: Maven, or Python where there is none."""
    if not shutil.which("mvn"):
        return [sys.executable, "-c", _BY_JGO, f"{scratch}/repository", str(archives)]
    artifact = f"-Dartifact={GROUP}:{NAME}:{VERSION}:tar.gz:all"
    repository = f"-Dmaven.repo.local={scratch}/repository"
    return ["mvn", "-q", "-B", repository, COPY_GOAL, artifact, f"-DoutputDirectory={archives}"]


class Registry:
    """A registry whose pid file and log lie in `folder`; what it holds goes with the process."""

    name = "registry"

    def __init__(self, folder: Path, port: int, management_port: int) -> None:
        self._folder, self._port, self._management_port = folder, port, management_port
        self.daemon = Daemon(self.name, folder)

    @property
    def url(self) -> str:
        """Where Confluent's clients find it."""
        return f"http://{LOOPBACK}:{self._port}{API}"

    def start(self) -> None:
        """Start it and return when it answers; raises StackError if it cannot be fetched or started."""
        try:
            java, folder = java_program(OLDEST_JAVA), registry_folder()
        except SetupError as error:
            raise StackError(str(error)) from error
        require_free("the schema registry", registry_port=self._port, registry_management_port=self._management_port)
        options = {
            "quarkus.http.host": LOOPBACK,
            "quarkus.http.port": self._port,
            # Without these it opens port 9000 on all addresses, whatever else is said of it.
            "quarkus.management.host": LOOPBACK,
            "quarkus.management.port": self._management_port,
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2",
            "java.io.tmpdir": self._folder,
        }
        command = [str(java), "-Xmx384m", "-XX:+UseSerialGC", *(f"-D{name}={value}" for name, value in options.items())]
        (runner,) = folder.rglob("quarkus-run.jar")
        self.daemon.start([*command, "-jar", str(runner)], {"PATH": "/usr/bin:/bin"})
        self.daemon.wait_until(self.is_ready, READY_SECONDS)

    def stop(self) -> None:
        """Stop it."""
        self.daemon.stop(STOP_SECONDS)

    def is_ready(self) -> bool:
        """Say whether it lists its subjects."""
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=2)
        try:
            connection.request("GET", f"{API}/subjects")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


if __name__ == "__main__":
    try:
        print(registry_folder())
    except (SetupError, StackError) as failure:
        say(str(failure))
        sys.exit(1)
