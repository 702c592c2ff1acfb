"""The local stack: Kafka and Triton, started, healed and stopped together.

What a stack is lies in ``stack.json`` of its folder, so that `down`, a second `up` and the supervisor,
each another process, mean the same servers.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from deploy.alertmanager import AlertmanagerServer
from deploy.cache import CHECKOUT, cache_dir, locked
from deploy.daemon import Daemon, Identity
from deploy.environment import SetupError
from deploy.kafka import KafkaBroker
from deploy.ports import LOOPBACK, Ports, PortTakenError, free_ports
from deploy.prometheus import RULES, PrometheusServer
from deploy.security import Security
from deploy.triton import REPOSITORY, TritonServer, repository_models
from schemas.errors import StackError

SERVICES = ("kafka", "triton")
MONITORING = ("prometheus", "alertmanager")
_ALL = (*SERVICES, *MONITORING)
"""Started in this order, stopped in the other."""
_DRAWS = 3
"""Times that free ports are drawn for a private stack: another one may be quicker to take them."""
SUPERVISOR_STOP_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a stack should be."""

    ports: Ports = field(default_factory=Ports)
    repository: str = str(REPOSITORY)
    models: tuple[str, ...] | None = None  # None: all that the repository holds
    services: tuple[str, ...] = ()  # those that should run
    secured: bool = False  # clients of Kafka need TLS, a user and rules
    targets: str = ""  # folder of the files that tell Prometheus of the stages; empty: state/targets in the stack's
    rules: tuple[str, ...] = tuple(map(str, RULES))  # what Prometheus records and alerts of
    heal: bool = False  # the supervisor restarts a service that ended
    owner: Identity | None = None  # the supervisor ends the stack when this process has ended

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Return the plan in `path`; an empty one where there is none."""
        if not path.exists():
            return cls()
        record = json.loads(path.read_text())
        return cls(
            ports=Ports(**record["ports"]),
            repository=record["repository"],
            models=None if record["models"] is None else tuple(record["models"]),
            services=tuple(record["services"]),
            secured=record.get("secured", False),
            targets=record.get("targets", ""),
            rules=tuple(record.get("rules", map(str, RULES))),
            heal=record["heal"],
            owner=Identity(**record["owner"]) if record["owner"] else None,
        )

    def write(self, path: Path) -> None:
        """Replace `path` in one step."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1))
        part.replace(path)


class Stack:
    """The servers of one folder.

    `up` may be called at any time: it starts what does not run, restarts what runs otherwise than asked,
    and leaves the rest alone. Every method raises StackError with what to do.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or default_folder()).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def plan(self) -> Plan:
        """What this stack should be, as its folder says."""
        return Plan.read(self.folder / "stack.json")

    @property
    def bootstrap_servers(self) -> str:
        """Where Kafka's clients connect."""
        return f"{LOOPBACK}:{self.plan.ports.kafka}"

    @property
    def security(self) -> Security:
        """The certificates and passwords of a secured stack."""
        return Security(self.folder / "security")

    @property
    def triton_grpc(self) -> str:
        """Where Triton's gRPC clients connect."""
        return f"{LOOPBACK}:{self.plan.ports.triton_grpc}"

    @property
    def triton_http(self) -> str:
        """Where Triton answers HTTP."""
        return f"{LOOPBACK}:{self.plan.ports.triton_http}"

    @property
    def triton_metrics(self) -> str:
        """Where Triton serves its Prometheus metrics."""
        return f"{LOOPBACK}:{self.plan.ports.triton_metrics}"

    @property
    def prometheus(self) -> str:
        """Where Prometheus answers HTTP."""
        return f"{LOOPBACK}:{self.plan.ports.prometheus}"

    @property
    def alertmanager(self) -> str:
        """Where Alertmanager answers HTTP."""
        return f"{LOOPBACK}:{self.plan.ports.alertmanager}"

    def up(
        self,
        services: Sequence[str] = SERVICES,
        *,
        ports: Ports | None = None,
        repository: Path | None = None,
        models: Sequence[str] | None = None,
        secured: bool | None = None,
        supervise: bool = False,
        owner: Identity | None = None,
    ) -> None:
        """Make `services` run and return when they are ready.

        `models` of `repository` are loaded, all by default. With `supervise`, a service that ends is restarted.
        With `owner`, the stack ends when that process has. What is not given stays as it was since the last `down`.
        """
        with self._locked():
            known = self.plan
            plan = Plan(
                ports=ports or known.ports,
                repository=str((repository or Path(known.repository)).absolute()),
                models=known.models if models is None else tuple(models),
                services=tuple(name for name in _ALL if name in {*services, *known.services}),
                # A broker's users are made with its log: one that is there stays as it is.
                secured=known.secured if secured is None else secured,
                targets=known.targets,
                rules=known.rules,
                heal=supervise or known.heal,
                owner=owner or known.owner,
            )
            plan.write(self._plan_file)
            for name in plan.services:
                if name in services:
                    self._start(name)
            self._supervise(plan)

    def down(self, *, wipe: bool = False) -> None:
        """Stop everything that this stack started; with `wipe` its data go too."""
        self._supervisor.stop(SUPERVISOR_STOP_SECONDS)
        self.end(wipe=wipe)

    def end(self, *, wipe: bool = False) -> None:
        """Stop the services. For the supervisor itself; others call `down`."""
        with self._locked():
            for name in reversed(_ALL):
                self._server(name).stop()
            self._plan_file.unlink(missing_ok=True)
            if wipe:
                for name in ("kafka", "security", *MONITORING):
                    shutil.rmtree(self.folder / name, ignore_errors=True)

    def start(self, service: str) -> None:
        """Start one service as planned, and return when it is ready."""
        with self._locked():
            plan = self.plan
            replace(plan, services=tuple(s for s in _ALL if s in {*plan.services, service})).write(self._plan_file)
            self._start(service)

    def stop(self, service: str) -> None:
        """Stop one service cleanly; the supervisor does not bring it back."""
        with self._locked():
            plan = self.plan
            replace(plan, services=tuple(s for s in plan.services if s != service)).write(self._plan_file)
            self._server(service).stop()

    def restart(self, service: str) -> None:
        """Stop one service cleanly and start it again."""
        self.stop(service)
        self.start(service)

    def kill(self, service: str) -> None:
        """Crash one service: SIGKILL, and nothing tidied. Where a supervisor heals, it comes back by itself."""
        self._server(service).daemon.kill()

    def is_running(self, service: str) -> bool:
        """Say whether the process of `service` runs."""
        return self._server(service).daemon.is_running()

    def pid(self, service: str) -> int | None:
        """Return the process id of `service`, None where it does not run."""
        identity = self._server(service).daemon.identity()
        return identity.pid if identity is not None and identity.is_running() else None

    def log(self, service: str) -> Path:
        """Return the log of `service`."""
        return self._server(service).daemon.log

    def heal(self) -> None:
        """Start what should run and does not."""
        with self._locked():
            for name in self.plan.services:
                if not self._server(name).daemon.is_running():
                    self._start(name)

    def _start(self, service: str) -> None:
        try:
            self._server(service).start()
        except SetupError as error:
            raise StackError(str(error)) from error

    def watch(self, targets: Path | None = None, rules: Sequence[Path] | None = None) -> None:
        """Say, before `up`, in which folder stages tell Prometheus of themselves, and which rules it loads."""
        with self._locked():
            plan = self.plan
            replace(
                plan,
                targets=plan.targets if targets is None else str(targets.absolute()),
                rules=plan.rules if rules is None else tuple(str(path.absolute()) for path in rules),
            ).write(self._plan_file)

    def _server(self, service: str) -> KafkaBroker | TritonServer | PrometheusServer | AlertmanagerServer:
        plan = self.plan
        if service == KafkaBroker.name:
            return KafkaBroker(self.folder, plan.ports, self.security if plan.secured else None)
        if service == TritonServer.name:
            repository = Path(plan.repository)
            models = repository_models(repository) if plan.models is None else plan.models
            return TritonServer(self.folder, plan.ports, repository, models)
        if service == PrometheusServer.name:
            targets = Path(plan.targets or self.folder / "state" / "targets")
            return PrometheusServer(self.folder, plan.ports, targets, tuple(map(Path, plan.rules)))
        if service == AlertmanagerServer.name:
            return AlertmanagerServer(self.folder, plan.ports)
        raise StackError(f"there is no service {service!r}; there are: {', '.join(_ALL)}.")

    def _supervise(self, plan: Plan) -> None:
        if (plan.heal or plan.owner) and not self._supervisor.is_running():
            command = [sys.executable, "-m", "deploy.supervisor", str(self.folder)]
            self._supervisor.start(command, {**os.environ, "PYTHONPATH": str(CHECKOUT)})

    @property
    def _supervisor(self) -> Daemon:
        return Daemon("supervisor", self.folder)

    @property
    def _plan_file(self) -> Path:
        return self.folder / "stack.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self.folder / "stack.lock"):
            yield


def default_folder(name: str = "default") -> Path:
    """Return the folder of the stack `name`; two names are two stacks, given different ports."""
    return cache_dir() / "stacks" / name


@contextmanager
def private_stack(
    folder: Path,
    services: Sequence[str] = SERVICES,
    *,
    repository: Path = REPOSITORY,
    models: Sequence[str] | None = None,
    secured: bool = False,
) -> Iterator[Stack]:
    """Run a stack on free ports in `folder`; it ends with the block, or with this process however that ends."""
    stack = Stack(folder)
    try:
        owner = Identity.of(os.getpid())
        for left in reversed(range(_DRAWS)):
            try:
                stack.up(
                    services, ports=free_ports(), repository=repository, models=models, secured=secured, owner=owner
                )
                break
            except PortTakenError:  # by another stack, since they were drawn
                if not left:
                    raise
                stack.down(wipe=True)
        yield stack
    finally:
        stack.down(wipe=True)
