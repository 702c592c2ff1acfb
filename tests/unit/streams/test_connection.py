"""What clients are told of TLS and users, and that a password is shown nowhere."""

import logging
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
from faust.types.auth import AuthProtocol, SASLMechanism

from schemas.errors import SettingsError
from streams.connection import faust_credentials, kafka_connection, kafka_password, triton_tls
from streams.kafka import consumer, producer_config
from streams.secret import Secret
from streams.settings import Settings, in_force

PASSWORD = "correct horse battery staple"


@pytest.fixture
def files(tmp_path):
    """A password's file, and one that stands for certificates."""
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "ca.pem").write_text("")
    return tmp_path


@pytest.fixture
def settings(files):
    return Settings(
        kafka_security="SASL_SSL",
        kafka_user="featurize",
        kafka_password_file=str(files / "password"),
        kafka_ca=str(files / "ca.pem"),
    )


def test_without_security_nothing_is_said_of_it():
    assert kafka_connection(Settings()).keys() == {"bootstrap.servers", "log.connection.close"}
    assert faust_credentials(Settings()) is None
    assert triton_tls(Settings()) == {}


def test_both_clients_get_the_user_the_password_and_the_authority(settings, monkeypatch):
    config = producer_config(settings, "test")
    assert config["security.protocol"] == "SASL_SSL"
    assert (config["sasl.mechanism"], config["sasl.username"]) == ("SCRAM-SHA-512", "featurize")
    assert (config["sasl.password"], config["ssl.ca.location"]) == (PASSWORD, settings.kafka_ca)
    monkeypatch.setattr("ssl.create_default_context", lambda cafile: f"context of {cafile}")
    found = faust_credentials(settings)
    assert (found.protocol, found.mechanism) == (AuthProtocol.SASL_SSL, SASLMechanism.SCRAM_SHA_512)
    assert (found.username, found.password) == ("featurize", PASSWORD)
    assert found.ssl_context == f"context of {settings.kafka_ca}"


def test_a_user_without_tls_has_no_certificates(settings):
    plain = replace(settings, kafka_security="SASL_PLAINTEXT")
    assert "ssl.ca.location" not in kafka_connection(plain)
    assert faust_credentials(plain).protocol is AuthProtocol.SASL_PLAINTEXT


def test_triton_gets_its_authority(files):
    settings = Settings(triton_tls="on", triton_ca=str(files / "ca.pem"))
    assert triton_tls(settings) == {"ssl": True, "root_certificates": settings.triton_ca}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kafka_user": ""}, "FORESHOCK_KAFKA_USER: SASL_SSL needs the name of a user"),
        ({"kafka_password_file": ""}, "FORESHOCK_KAFKA_PASSWORD: SASL_SSL needs a password"),
        ({"kafka_password_file": "/nowhere"}, "FORESHOCK_KAFKA_PASSWORD_FILE: /nowhere cannot be read: No such file"),
        ({"kafka_password_file": "/dev/null"}, "FORESHOCK_KAFKA_PASSWORD_FILE: /dev/null is empty"),
        ({"kafka_ca": "/nowhere"}, "FORESHOCK_KAFKA_CA: /nowhere cannot be read"),
    ],
)
def test_what_is_missing_is_named(settings, changes, said):
    with pytest.raises(SettingsError, match=said):
        kafka_connection(replace(settings, **changes))


def test_a_password_is_shown_nowhere(caplog):
    settings = Settings(kafka_security="SASL_SSL", kafka_user="x", kafka_password=PASSWORD, log_level="DEBUG")
    caplog.set_level(logging.DEBUG)
    logging.getLogger("foreshock").warning("%s %r", settings, settings.kafka_password)
    shown = [repr(settings), str(settings), f"{settings.kafka_password}", caplog.text]
    shown.append(in_force(settings, "FORESHOCK_KAFKA_PASSWORD", {"FORESHOCK_KAFKA_PASSWORD": PASSWORD})[0])
    with pytest.raises(SettingsError) as caught:
        replace(settings, kafka_security="none")
    shown.append(str(caught.value))
    assert PASSWORD not in "".join(shown)
    assert kafka_password(settings).reveal() == PASSWORD


def test_a_child_process_gets_the_password_and_equality_and_pickles_keep_it():
    settings = Settings(kafka_password=PASSWORD)
    assert Settings.from_environment(settings.environment()) == settings
    assert pickle.loads(pickle.dumps(settings.kafka_password)) == Secret(PASSWORD) != Secret("other")


def test_the_command_that_lists_settings_does_not_tell_the_password():
    environment = os.environ | {"FORESHOCK_KAFKA_PASSWORD": PASSWORD}
    command = [sys.executable, "-m", "streams.cli", "settings"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "FORESHOCK_KAFKA_PASSWORD" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr


def test_a_client_that_gets_no_answer_does_not_tell_the_password(caplog):
    caplog.set_level(logging.DEBUG)
    settings = Settings(
        bootstrap_servers="127.0.0.1:1", kafka_security="SASL_PLAINTEXT", kafka_user="x", kafka_password=PASSWORD
    )
    reader = consumer(settings, "test", overrides={"debug": "security,broker"})
    reader.poll(0.3)
    reader.close()
    assert PASSWORD not in caplog.text
