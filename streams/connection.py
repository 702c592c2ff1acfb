"""How processes connect to Kafka and Triton: TLS, certificates, users and passwords, from the settings."""

import ssl
from pathlib import Path
from typing import Any

from faust.auth import SASLCredentials, SSLCredentials

from schemas.errors import SettingsError
from streams.secret import Secret
from streams.settings import Settings, variable


def kafka_connection(settings: Settings) -> dict[str, Any]:
    """Return confluent-kafka's configuration of any client; raises SettingsError.

    The password is read at each call, so that one that was changed in its file is used by the next client.
    """
    security = settings.kafka_security
    config: dict[str, Any] = {"bootstrap.servers": settings.bootstrap_servers, "log.connection.close": False}
    if security == "PLAINTEXT":
        return config
    config["security.protocol"] = security
    if "SSL" in security:
        config |= {
            name: _file(settings, field)
            for name, field in (
                ("ssl.ca.location", "kafka_ca"),
                ("ssl.certificate.location", "kafka_certificate"),
                ("ssl.key.location", "kafka_key"),
            )
            if getattr(settings, field)
        }
    if "SASL" in security:
        config["sasl.mechanism"] = settings.kafka_mechanism
        config["sasl.username"] = _user(settings)
        config["sasl.password"] = kafka_password(settings).reveal()
    return config


def faust_credentials(settings: Settings) -> SASLCredentials | SSLCredentials | None:
    """Return the same for Faust, None for a connection without either; raises SettingsError."""
    security = settings.kafka_security
    context = _ssl_context(settings) if "SSL" in security.removeprefix("SASL") else None
    if "SASL" in security:
        return SASLCredentials(
            username=_user(settings),
            password=kafka_password(settings).reveal(),
            ssl_context=context,
            mechanism=settings.kafka_mechanism,
        )
    return SSLCredentials(context) if context is not None else None


def kafka_password(settings: Settings) -> Secret:
    """Return the password of the settings, or of the file that they name; raises SettingsError."""
    if settings.kafka_password:
        return settings.kafka_password
    name = variable("kafka_password")
    if not settings.kafka_password_file:
        raise SettingsError(f"{name}: {settings.kafka_security} needs a password; set it, or {name}_FILE")
    path = Path(_file(settings, "kafka_password_file"))
    found = Secret(path.read_text().rstrip("\r\n"))
    if not found:
        raise SettingsError(f"{name}_FILE: {path} is empty; expected the password of {settings.kafka_user}")
    return found


def triton_tls(settings: Settings) -> dict[str, Any]:
    """Return the arguments of tritonclient's gRPC client that make its connection one by TLS; raises SettingsError."""
    if settings.triton_tls == "off":
        return {}
    names = {"root_certificates": "triton_ca", "certificate_chain": "triton_certificate", "private_key": "triton_key"}
    files = {argument: _file(settings, field) for argument, field in names.items() if getattr(settings, field)}
    return {"ssl": True, **files}


def _user(settings: Settings) -> str:
    if not settings.kafka_user:
        raise SettingsError(f"{variable('kafka_user')}: {settings.kafka_security} needs the name of a user")
    return settings.kafka_user


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=_file(settings, "kafka_ca") if settings.kafka_ca else None)
    if settings.kafka_certificate:
        key = _file(settings, "kafka_key") if settings.kafka_key else None
        context.load_cert_chain(_file(settings, "kafka_certificate"), key)
    return context


def _file(settings: Settings, field: str) -> str:
    """Return the path of a file that a setting names; raises SettingsError where it cannot be read."""
    path = Path(getattr(settings, field)).expanduser()
    try:
        path.open("rb").close()
    except OSError as problem:
        raise SettingsError(f"{variable(field)}: {path} cannot be read: {problem.strerror}") from None
    return str(path)
