"""A real schema registry: it takes every release, gives schemas by id, and refuses what does not fit."""

import copy

import pytest
from typer.testing import CliRunner

from deploy.ports import free_range
from deploy.registry import Registry
from schemas.released import released, subjects
from schemas.rules import TICKS
from streams.cli import app
from streams.commands.schemas import RELEASED
from streams.registry import IncompatibleError, RegistryError, SchemaRegistry, draft_7, register_all

pytestmark = pytest.mark.timeout(400)
FORECAST, TRADE = "forecast.volatility.v1-value", "exchange.event.v1-trade"


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    first = free_range(2)
    server = Registry(tmp_path_factory.mktemp("registry"), first, first + 1)
    server.start()
    yield server
    server.stop()


def test_the_command_registers_every_subject_and_again_without_a_change(registry):
    ran = [CliRunner().invoke(app, ["schemas", "register", "--url", registry.url]) for _ in range(2)]
    assert ran[0].exit_code == 0, ran[0].output
    assert [line.partition(":")[0] for line in ran[0].output.splitlines()] == list(subjects(TICKS))
    assert ran[0].output == ran[1].output


def test_a_schema_is_fetched_by_its_id_and_its_level_is_kept(registry):
    list(register_all(registry.url, TICKS, released(RELEASED)))
    client = SchemaRegistry(registry.url)
    for subject in (subjects(TICKS)[FORECAST], subjects(TICKS)[TRADE]):
        assert client.fetch(client.register(subject.name, subject.schema)) == draft_7(subject.schema)
        assert client.kept(subject.name) == subject.level


def test_the_registry_refuses_a_version_that_does_not_fit(registry):
    list(register_all(registry.url, TICKS, released(RELEASED)))
    client, changed = SchemaRegistry(registry.url), copy.deepcopy(subjects(TICKS)[TRADE].schema)
    assert client.register(TRADE, changed) > 0
    changed["properties"]["price"]["type"] = "string"
    with pytest.raises(IncompatibleError, match=r"answered 409: .*Incompatible artifact"):
        client.register(TRADE, changed)


def test_what_is_not_there_is_told(registry):
    with pytest.raises(RegistryError) as told:
        SchemaRegistry(registry.url).fetch(1_000_000)
    assert told.value.status == 404
    with pytest.raises(RegistryError, match="was not reached as a schema registry"):
        SchemaRegistry("http://127.0.0.1:1").fetch(1)
