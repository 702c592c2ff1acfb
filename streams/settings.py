"""All settings: read once from the environment, each with its unit, default and meaning."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from schemas.errors import SettingsError
from schemas.rules import PROFILES, Rules
from streams.secret import Secret

PREFIX = "FORESHOCK_"
_REPOSITORY = Path(__file__).parent.parent / "triton_models" / "repository"


def _setting(default: Any, unit: str, meaning: str, accepted: str = "") -> Any:
    """Declare one setting; `accepted` lists its values, or gives a range `low..high`."""
    return field(default=default, metadata={"unit": unit, "meaning": meaning, "accepted": accepted})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one process runs. The name of a setting's variable is `FORESHOCK_` and its name in capitals."""

    # Where things are. (RUF009: `_setting` is `dataclasses.field` with three words more.)
    bootstrap_servers: str = _setting("", "host:port,...", "Kafka brokers; empty: the local stack's on kafka_port")
    triton_url: str = _setting("", "host:port", "Triton's gRPC address; empty: the local stack's on triton_grpc_port")
    kafka_port: int = _setting(19092, "port", "Port of the local stack's broker", "1..65535")
    kafka_controller_port: int = _setting(19093, "port", "Port of the local stack's controller", "1..65535")
    triton_grpc_port: int = _setting(18001, "port", "Port of the local Triton's gRPC", "1..65535")
    triton_http_port: int = _setting(18000, "port", "Port of the local Triton's HTTP", "1..65535")
    triton_metrics_port: int = _setting(18002, "port", "Port of the local Triton's metrics", "1..65535")
    prometheus_port: int = _setting(19090, "port", "Port of the local stack's Prometheus", "1..65535")
    alertmanager_port: int = _setting(19094, "port", "Port of the local stack's Alertmanager", "1..65535")
    metrics_port: int = _setting(
        9464, "port", "First port of the processes' Prometheus metrics; 0 serves none", "0..65000"
    )
    metrics_address: str = _setting(
        "127.0.0.1", "address", "Where metrics, /live and /ready are served; 0.0.0.0: to all"
    )
    # How it is connected to.
    kafka_security: str = _setting(
        "PLAINTEXT", "", "How Kafka is connected to", "PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL"
    )
    kafka_mechanism: str = _setting(
        "SCRAM-SHA-512", "", "How a user proves who he is, with SASL", "SCRAM-SHA-512|SCRAM-SHA-256|PLAIN"
    )
    kafka_user: str = _setting("", "", "User, with SASL")
    kafka_password: Secret = _setting(Secret(), "", "Password, with SASL; never shown")  # noqa: RUF009
    kafka_password_file: str = _setting("", "path", "File that holds the password, instead")
    kafka_ca: str = _setting("", "path", "PEM file of the authority that signed the brokers; empty: the system's")
    kafka_certificate: str = _setting("", "path", "PEM file of this client's certificate, where brokers ask for one")
    kafka_key: str = _setting("", "path", "PEM file of its private key")
    triton_tls: str = _setting("off", "", "Whether Triton is connected to by TLS", "off|on")
    triton_ca: str = _setting("", "path", "PEM file of the authority that signed Triton; empty: the system's")
    triton_certificate: str = _setting("", "path", "PEM file of this client's certificate, where Triton asks for one")
    triton_key: str = _setting("", "path", "PEM file of its private key")
    # Folders.
    data: Path = _setting("../shared/data", "path", "Folder of the captures")  # noqa: RUF009
    state_dir: Path = _setting("~/.local/state/foreshock", "path", "Logs and scrape targets of `foreshock run`")  # noqa: RUF009
    cache: Path = _setting("~/.cache/foreshock", "path", "Downloads and environments that a second run uses again")  # noqa: RUF009
    python: str = _setting("", "path", "Python that the set-up starts from; empty: the first fit one on PATH")
    store_url: str = _setting("", "path", "Offline store: a folder, or s3://bucket/path; empty: store in state_dir")
    model_repository: str = _setting(
        "", "path", "Folder of the models that Triton serves and infer reads; empty: triton_models/repository"
    )
    # What decides the rows: see schemas.rules.
    profile: str = _setting("ticks", "", "Rules of time: 1 s rows from ticks, or 5 min rows from bars", "ticks|bars")
    allowed_lateness_seconds: float = _setting(
        -1.0, "s", "How far behind its venue's clock an event may come; -1: that of the profile", "-1..3600"
    )
    idle_timeout_seconds: float = _setting(
        -1.0, "s", "Silence after which a venue is not waited for; -1: profile's", "-1..3600"
    )
    tile_interval_seconds: float = _setting(-1.0, "s", "Length of a base tile; -1: that of the profile", "-1..86400")
    row_interval_seconds: float = _setting(-1.0, "s", "Time between feature rows; -1: that of the profile", "-1..86400")
    partitions: int = _setting(
        4, "count", "Partitions of the inner and outer topics; fixed once the topics exist", "1..1024"
    )
    raw_exchange_partitions: int = _setting(4, "count", "Partitions of raw.exchange.v1", "1..1024")
    raw_onchain_partitions: int = _setting(1, "count", "Partitions of raw.onchain.v1", "1..1024")
    raw_sentiment_partitions: int = _setting(1, "count", "Partitions of raw.sentiment.v1", "1..1024")
    # How it runs.
    workers: int = _setting(1, "count", "Processes of each stage that `foreshock run` starts", "1..64")
    worker: int = _setting(
        -1, "index", "Which of its stage's workers this process is: its static membership; -1: none", "-1..63"
    )
    batch_events: int = _setting(2_000, "events", "Events in a micro-batch before it is sent", "1..10000")
    batch_ms: float = _setting(200.0, "ms", "Time after which an unfilled micro-batch is sent", "0..60000")
    heartbeat_writer: str = _setting(
        "ingest",
        "",
        "Who writes heartbeats on the raw topics: ingest, by its clock (live), or replay, in capture time",
        "ingest|replay",
    )
    checkpoint_seconds: float = _setting(10.0, "s", "Time between checkpoints of a partition", "0.1..3600")
    session_timeout_seconds: float = _setting(
        6.0, "s", "Silence after which a worker counts as dead; brokers refuse under 6 unless told otherwise", "1..300"
    )
    fetch_wait_ms: int = _setting(20, "ms", "How long the broker may wait for new records to answer", "1..1500")
    linger_ms: float = _setting(1.0, "ms", "How long a producer gathers records", "0..1000")
    delivery_timeout_seconds: float = _setting(
        120.0, "s", "An output that Kafka has not acknowledged by then ends the process", "1..3600"
    )
    stall_seconds: float = _setting(
        45.0, "s", "A worker whose offsets stand so long while the log grows exits, within 10 s more", "5..86400"
    )
    standby_replicas: int = _setting(0, "count", "Standby copies of the checkpoint table", "0..8")
    inference_deadline_seconds: float = _setting(
        0.9, "s", "No answer of the model by then gives a fallback forecast", "0.01..60"
    )
    breaker_failures: int = _setting(5, "count", "Failures in a row that open the breaker to Triton", "1..1000")
    breaker_open_seconds: float = _setting(2.0, "s", "Time between canary inferences while it is open", "0.1..300")
    forecast_due_seconds: float = _setting(
        5.0,
        "s",
        "A forecast that is not on its topic so long after border + allowed lateness counts as missed",
        "0.1..3600",
    )
    explain_every: int = _setting(
        100, "count", "Forecasts of which one is explained while it is made, chosen by its id; 0: none", "0..1000000"
    )
    store: str = _setting("off", "", "Whether `foreshock run` writes the offline store too", "off|on")
    store_commit_rows: int = _setting(50_000, "rows", "Rows of one table that are committed at once", "1..10000000")
    store_commit_seconds: float = _setting(10.0, "s", "Time after which fewer are committed", "0.05..3600")
    parity_share: float = _setting(
        0.0,
        "",
        "Share of the row messages that `foreshock run` has recomputed by a process of its own; 0: it starts none",
        "0..1",
    )
    metrics_instruments: str = _setting(
        "50", "ids or count", "Instruments with a label in metrics: ids with commas between, or the first N that come"
    )
    log_level: str = _setting("WARNING", "", "Least level of log lines", "DEBUG|INFO|WARNING|ERROR")
    log_format: str = _setting("text", "", "Log lines as text, or as one JSON object a line", "text|json")
    trace_share: float = _setting(
        0.0, "", "Share of the row borders whose `traceparent` says sampled; 0: no such header is written", "0..1"
    )
    otlp_endpoint: str = _setting(
        "", "address", "OpenTelemetry receiver (OTLP over HTTP) of sampled messages, http://HOST:4318; empty: none"
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings from `FORESHOCK_*`; raises SettingsError that names the bad one.

        >>> Settings.from_environment({"FORESHOCK_WORKERS": "3"}).workers
        3
        """
        given = os.environ if environment is None else environment
        known = {variable(item.name): item.name for item in fields(cls)}
        unknown = sorted(name for name in given if name.startswith(PREFIX) and name not in known)
        if unknown:
            near = _nearest(unknown[0], known)
            raise SettingsError(f"{unknown[0]}: there is no such setting;{near} `foreshock settings` lists them all")
        values: dict[str, Any] = {name: given[key] for key, name in known.items() if key in given}
        return cls(**values)

    def __post_init__(self) -> None:
        """Convert texts to their types, check ranges, and fill in what follows from others."""
        hints = get_type_hints(type(self))
        for item in fields(self):
            value = _converted(item.name, hints[item.name], getattr(self, item.name))
            _check(item.name, value, item.metadata["accepted"])
            object.__setattr__(self, item.name, value)
        for name, port in (("bootstrap_servers", self.kafka_port), ("triton_url", self.triton_grpc_port)):
            if not getattr(self, name):
                object.__setattr__(self, name, f"127.0.0.1:{port}")
        if not self.model_repository:
            object.__setattr__(self, "model_repository", str(_REPOSITORY))
        if not self.store_url:
            object.__setattr__(self, "store_url", str(self.state_dir / "store"))
        _check_intervals(self.rules)

    def environment(self) -> dict[str, str]:
        """Return the variables that give a child process these settings."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            variable(name): value.reveal() if isinstance(value, Secret) else str(value)
            for name, value in values.items()
        }

    @property
    def rules(self) -> Rules:
        """The rules of time: the profile's, with what was set otherwise."""
        overrides = {
            f"{name}_ns": round(seconds * 1e9)
            for name in ("allowed_lateness", "idle_timeout", "tile_interval", "row_interval")
            if (seconds := getattr(self, f"{name}_seconds")) >= 0
        }
        raw = {
            f"raw.{kind}.v1": getattr(self, f"raw_{kind}_partitions") for kind in ("exchange", "onchain", "sentiment")
        }
        return msgspec.structs.replace(
            PROFILES[self.profile], raw_partitions=raw, partitions=self.partitions, **overrides
        )


def variable(name: str) -> str:
    """Return the environment variable of a setting.

    >>> variable("workers")
    'FORESHOCK_WORKERS'
    """
    return PREFIX + name.upper()


def describe() -> list[tuple[str, str, str, str]]:
    """Return (variable, default, unit, meaning) of every setting, for `--help` and the README."""
    return [
        (variable(item.name), str(item.default), item.metadata["unit"], item.metadata["meaning"])
        for item in fields(Settings)
    ]


_FOLLOWED = {
    "bootstrap_servers": "kafka_port",
    "triton_url": "triton_grpc_port",
    "store_url": "state_dir",
    "allowed_lateness_seconds": "profile",
    "idle_timeout_seconds": "profile",
    "tile_interval_seconds": "profile",
    "row_interval_seconds": "profile",
}
"""What a setting follows from where it is left open."""


def in_force(settings: Settings, name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the value of the variable `name` that holds, and where it is from.

    >>> given = {"FORESHOCK_KAFKA_PORT": "9092"}
    >>> found = Settings.from_environment(given)
    >>> in_force(found, "FORESHOCK_BOOTSTRAP_SERVERS", given), in_force(found, "FORESHOCK_WORKERS", given)
    (('127.0.0.1:9092', 'FORESHOCK_KAFKA_PORT'), ('1', 'default'))
    >>> in_force(found, "FORESHOCK_ALLOWED_LATENESS_SECONDS", given)
    ('2.5', 'FORESHOCK_PROFILE')
    """
    own = name.removeprefix(PREFIX).lower()
    value = getattr(settings, own)
    followed = _FOLLOWED.get(own)
    if followed == "profile" and value < 0:
        return f"{getattr(settings.rules, own.removesuffix('_seconds') + '_ns') / 1e9:g}", variable(followed)
    if environment.get(name):
        return str(value), "environment"
    return str(value), variable(followed) if followed and followed != "profile" else "default"


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return the settings most like a name that is none, as a part of a sentence."""
    own = {each.removeprefix(PREFIX): each for each in known}
    found = get_close_matches(name.removeprefix(PREFIX), own, n=3, cutoff=0.6)
    return f" did you mean {' or '.join(own[each] for each in found)}?" if found else ""


def _check_intervals(rules: Rules) -> None:
    """Raise SettingsError where rows are not made of whole tiles."""
    tile_ns, row_ns = rules.tile_interval_ns, rules.row_interval_ns
    if tile_ns <= 0:
        raise SettingsError(f"{variable('tile_interval_seconds')}: expected more than 0, or -1, got 0")
    if row_ns <= 0 or row_ns % tile_ns:
        name = variable("row_interval_seconds")
        raise SettingsError(f"{name}: expected whole tiles of {tile_ns / 1e9:g} s, got {row_ns / 1e9:g} s")


def _converted(name: str, kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value).expanduser()
    if isinstance(value, kind):
        return value
    try:
        return kind(value)
    except (TypeError, ValueError):
        what = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise SettingsError(f"{variable(name)}: expected {what}, got {value!r}") from None


def _check(name: str, value: Any, accepted: str) -> None:
    if ".." in accepted:
        low, high = map(float, accepted.split(".."))
        if not low <= value <= high:
            raise SettingsError(f"{variable(name)}: expected {accepted.replace('..', ' to ')}, got {value}")
    elif accepted and value not in accepted.split("|"):
        raise SettingsError(f"{variable(name)}: expected one of {accepted.replace('|', ', ')}, got {value!r}")
