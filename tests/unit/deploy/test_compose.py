"""deploy/compose.yaml and the container files, without Docker: shape, settings, versions, what a container may."""

import json
import re
import subprocess

import jsonschema
import pytest
import yaml

from deploy import kafka, triton
from deploy.cache import DEPLOY
from deploy.environment import packages
from deploy.helm_program import schema_files
from deploy.manifests import generated
from streams.settings import Settings

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
CONTAINERS = DEPLOY / "containers"
STAGES = ("ingest", "featurize", "infer", "score", "store", "parity", "announce")


def test_generated_files_of_the_chart_are_current():
    for path, text in generated().items():
        assert path.read_text() == text, f"{path.name}: run python -m deploy.manifests"


@pytest.mark.timeout(600)  # the first time schemas are fetched
def test_the_file_has_the_shape_of_the_compose_specification():
    schema = json.loads((schema_files() / "compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(COMPOSE | {"services": {"a": {"imag": "b"}}}, schema)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_gets_settings_that_it_takes(name):
    environment = {
        key: re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value) for key, value in SERVICES[name]["environment"].items()
    }
    settings = Settings.from_environment(environment)
    assert settings.bootstrap_servers == "kafka:9092"
    assert settings.metrics_address == "0.0.0.0"


def test_ports_are_on_loopback_alone():
    ports = [port for each in SERVICES.values() for port in each.get("ports", ())]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_container_is_restricted():
    for name, each in SERVICES.items():
        assert each["cap_drop"] == ["ALL"], name
        assert each["security_opt"] == ["no-new-privileges:true"], name
        assert each["read_only"] or name == "kafka"
        assert not each.get("privileged", False)


def test_who_needs_another_waits_until_it_is_healthy():
    for name, each in SERVICES.items():
        for other, how in each.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} waits for {other}"
    assert SERVICES["infer"]["depends_on"].keys() == {"kafka", "announce", "tritonserver"}


def test_volumes_are_named_and_files_exist():
    for each in SERVICES.values():
        for volume in each.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], source


def test_no_secret_stands_in_the_file():
    assert not re.search(
        r"password|secret_key|token", (DEPLOY / "compose.yaml").read_text().replace("no password", ""), re.IGNORECASE
    )


def test_the_broker_is_the_one_that_is_tested():
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka.ARTIFACTS[0].rpartition(':')[2]}"


def test_tritons_options_are_those_of_the_local_one():
    text = (CONTAINERS / "triton.Dockerfile").read_text()
    local = (DEPLOY / "triton.py").read_text()
    assert triton.REPOSITORY.name == "repository"
    for option in re.findall(r"--[a-z-]+=(?:explicit|false|5)", local):
        assert option in text, option


def test_the_stages_image_has_the_locked_packages_without_torch():
    def pins(path):
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(), re.MULTILINE))

    whole, stages = pins(DEPLOY / "requirements.lock"), pins(CONTAINERS / "requirements-stages.lock")
    assert len(stages) > 50
    assert stages.items() <= whole.items()
    assert not [name for name in stages if name.startswith(("torch", "nvidia", "cuda", "pytest"))]


@pytest.mark.parametrize("name", ["stages", "triton"])
def test_an_image_is_made_in_stages_and_does_not_run_as_root(name):
    text = (CONTAINERS / f"{name}.Dockerfile").read_text()
    assert len(re.findall(r"^FROM ", text, re.MULTILINE)) == 2
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["10001:10001"]
    assert "--require-hashes" in text
    for source in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", text, re.MULTILINE):
        assert all((DEPLOY.parent / each).exists() for each in source.split()), source


@pytest.mark.parametrize("name", ["stages", "triton"])
def test_a_container_file_has_nothing_that_hadolint_warns_of(name):
    hadolint = packages("manifests") / "bin" / "hadolint"
    command = [hadolint, DEPLOY / "containers" / f"{name}.Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
