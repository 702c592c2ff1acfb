"""Kafka 4.3.1 on this machine: one KRaft node, fetched once as its Maven artifacts."""

import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from string import Template

from deploy.cache import DEPLOY, cache_dir, checksums, fingerprint, once, read_checksums, say
from deploy.daemon import Daemon
from deploy.environment import packages
from deploy.java import java_program
from deploy.ports import LOOPBACK, Ports, require_free
from deploy.security import Security
from schemas.errors import StackError

ARTIFACTS = ("org.apache.kafka:kafka_2.13:4.3.1", "org.slf4j:slf4j-simple:1.7.36")  # without the second: no log
COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
JAVA_OPTIONS = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.showDateTime=true")
READY_SECONDS = 60.0
STOP_SECONDS = 20.0
# ApiVersions v0, correlation id 7, no client id: an answer with error 0 means that clients are served.
API_VERSIONS = bytes.fromhex("0000000a0012000000000007ffff")
_ANSWER_BYTES = 10
"""So much of the answer tells: its length, the correlation id, the error."""

PROPERTIES = Template("""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$host:$controller
listeners=CLIENTS://$host:$port,CONTROLLER://$host:$controller
advertised.listeners=CLIENTS://$host:$advertised
controller.listener.names=CONTROLLER
listener.security.protocol.map=CLIENTS:$clients,CONTROLLER:$controllers
inter.broker.listener.name=CLIENTS
log.dirs=$logs
# Topics are declared in schemas/topics.py; a misspelt one is an error, not a new topic.
auto.create.topics.enable=false
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
# Replays carry the times of their captures: years before the broker's clock, or ahead of it.
log.message.timestamp.before.max.ms=9223372036854775807
log.message.timestamp.after.max.ms=9223372036854775807
log.retention.ms=-1
# One node, small machine, quick groups.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# After a crash the node waits for its former self to be declared gone: 3 s instead of 9.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=4194304
""")


def kafka_jars() -> Path:
    """Return the folder of Kafka's JARs, fetched once and equal to ``deploy/kafka.sha256``."""
    expected = DEPLOY / "kafka.sha256"
    return once(cache_dir() / "kafka" / fingerprint(expected.read_bytes()), _fetch_jars) / "lib"


def _fetch_jars(target: Path) -> None:
    say(f"fetching Kafka: {ARTIFACTS[0]}")
    lib = target / "lib"
    lib.mkdir()
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        (_fetch_by_maven if shutil.which("mvn") else _fetch_by_jgo)(lib, Path(scratch))
    expected, found = read_checksums(DEPLOY / "kafka.sha256"), checksums(lib)
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise StackError(
            f"Kafka's files differ from deploy/kafka.sha256: {', '.join(wrong[:3])} ({len(wrong)} in all).\n"
            "The source that your Maven settings name does not serve the released files; correct it and try again."
        )


def _fetch_by_maven(lib: Path, scratch: Path) -> None:
    parts = (
        dict(zip(("groupId", "artifactId", "version"), artifact.split(":"), strict=True)) for artifact in ARTIFACTS
    )
    dependencies = "".join(f"<dependency>{_elements(part)}</dependency>" for part in parts)
    project = {"modelVersion": "4.0.0", "groupId": "foreshock", "artifactId": "kafka", "version": "1"}
    pom = scratch / "pom.xml"
    pom.write_text(
        f"<project>{_elements(project)}<packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )
    _run(
        "mvn", "-q", "-B", f"-Dmaven.repo.local={scratch}/repository", "-f", str(pom), COPY_GOAL,
        "-DincludeScope=runtime", f"-DoutputDirectory={lib}",
    )  # fmt: skip


def _elements(values: dict[str, str]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in values.items())


def _fetch_by_jgo(lib: Path, scratch: Path) -> None:
    """Resolve in Python where there is no Maven; the files are the same."""
    _run(
        "env", f"PYTHONPATH={packages('java')}", sys.executable, "-m", "jgo", "--ignore-config", "--resolver", "python",
        "--links", "copy", "--repo-cache", f"{scratch}/repository", "--cache-dir", f"{scratch}/jgo",
        "info", "jars", "+".join(ARTIFACTS),
    )  # fmt: skip
    for jar in (scratch / "jgo").rglob("*.jar"):
        jar.rename(lib / jar.name)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stderr + done.stdout).strip().splitlines() or ["it said nothing"]
        raise StackError(f"`{' '.join(command[:4])} ...` ended with {done.returncode}: {said[-1][:300]}")


class KafkaBroker:
    """A single-node Kafka whose log and metadata live in `folder`."""

    name = "kafka"

    def __init__(self, folder: Path, ports: Ports, security: Security | None = None) -> None:
        self._folder = folder
        self._ports = ports
        self._security = security
        self.daemon = Daemon(self.name, folder)

    def start(self) -> None:
        """Start it and return when clients are served; where it already runs as asked, do nothing.

        Raises StackError if it cannot be fetched or started.
        """
        if self._security is not None:
            self._security.make()
        command = [str(java_program()), *JAVA_OPTIONS, "-cp", f"{kafka_jars()}/*"]
        properties = self._write_properties()
        configuration = fingerprint(command, properties.read_text())
        if not self.daemon.serves(configuration, self.is_ready):
            self.stop()
            require_free("Kafka", kafka_port=self._ports.kafka, kafka_controller_port=self._ports.kafka_controller)
            self._format(command, properties)
            self.daemon.start([*command, "kafka.Kafka", str(properties)], _environment(), configuration)
            self.daemon.wait_until(self.is_ready, READY_SECONDS)

    def stop(self) -> None:
        """Stop it cleanly; its log stays."""
        self.daemon.stop(STOP_SECONDS)

    def is_ready(self) -> bool:
        """Say whether the broker answers a client's first request."""
        try:
            with socket.create_connection((LOOPBACK, self._ports.kafka), timeout=1) as connection:
                return _serves(connection, self._security)
        except OSError:
            return False

    def _write_properties(self) -> Path:
        path = self._folder / "kafka.properties"
        secured = self._security
        # It holds the administrator's password where there is one.
        path.touch(mode=0o600)
        path.write_text(
            PROPERTIES.substitute(
                clients="PLAINTEXT" if secured is None else "SASL_SSL",
                controllers="PLAINTEXT" if secured is None else "SSL",
                host=LOOPBACK,
                port=self._ports.kafka,
                advertised=self._ports.kafka_advertised or self._ports.kafka,
                controller=self._ports.kafka_controller,
                logs=self._folder / "kafka",
            )
            + ("" if secured is None else secured.properties())
        )
        return path

    def _format(self, command: list[str], properties: Path) -> None:
        if (self._folder / "kafka" / "meta.properties").exists():
            return
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # An id with a leading dash would read as an option.
        cluster_id = "F" + cluster_id[1:]
        users = [] if self._security is None else self._security.scram_arguments()
        _run(*command, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties), *users)


def _serves(connection: socket.socket, security: Security | None) -> bool:
    """Say whether a client's first request is answered; with security that comes before any password."""
    if security is None:
        return _answers(connection)
    context = ssl.create_default_context(cafile=str(security.ca))
    with context.wrap_socket(connection, server_hostname=LOOPBACK) as secured:
        return _answers(secured)


def _answers(connection: socket.socket) -> bool:
    connection.sendall(API_VERSIONS)
    answer = b""
    while len(answer) < _ANSWER_BYTES and (more := connection.recv(_ANSWER_BYTES - len(answer))):
        answer += more
    return answer[4:] == bytes.fromhex("000000070000")


def _environment() -> dict[str, str]:
    return {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}
