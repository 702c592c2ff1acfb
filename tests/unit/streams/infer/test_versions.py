"""Which version makes the forecasts of an origin, and what a version in shadow can do to them."""

import asyncio
import logging
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec import structs

from schemas.decisions import ModelDecision
from schemas.errors import InferenceError, StateError
from schemas.forecasts import Forecast, decode_json, encode_json
from schemas.topics import FORECAST, OPS_MODEL
from streams.decisions import DECIDED
from streams.infer import versions
from streams.infer.models import beside, read_models, unlike
from streams.infer.stage import InferStage
from streams.infer.versions import Choice, Versions
from streams.metrics_server import Metrics
from streams.settings import Settings
from streams.stage import Message
from tests.unit.streams.infer.infer_cases import MODELS, answer, forecaster, row_message
from triton_models.bundle import read
from triton_models.export import REPOSITORY, publish

NAMES = ("lstm-ticks", "performer-ticks")
SHADOW = MODELS._replace(networks=tuple(one._replace(version="2") for one in MODELS.networks))


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Versions 1 and 2 with the same weights, and 3 without its file of weights."""
    folder = tmp_path_factory.mktemp("repository")
    for name in NAMES:
        bundle = read(REPOSITORY / name / "1")
        for version in ("1", "2", "3"):
            publish(structs.replace(bundle.spec, version=version), bundle.weights, folder)
        (folder / name / "3" / "weights.safetensors").unlink()
    return folder


class Client:
    """A Triton that answers at once; counts the connections."""

    opened: list

    def __init__(self, _settings, models, _metrics):
        self.version = models[0].version
        self.breaker = SimpleNamespace(is_closed=True)
        self.leads = None
        Client.opened.append(self)

    async def start(self, _seconds):
        self.started = True

    async def retire(self):
        self.retired = True
        await self.stop()

    async def stop(self):
        self.stopped = True

    def lead(self, *, leads):
        self.leads = leads


class Follower:
    """`ops.model` in memory."""

    waiting: list

    def __init__(self, *_):
        pass

    def read(self):
        found, Follower.waiting[:] = list(Follower.waiting), []
        return found

    def close(self):
        pass


@pytest.fixture
def decided(monkeypatch):
    """What is on `ops.model`; decisions are put there by calling it."""
    monkeypatch.setattr(versions, "TritonClient", Client)
    monkeypatch.setattr(versions, "Follower", Follower)
    monkeypatch.setattr(versions, "LOOK_SECONDS", 0.001)
    Client.opened, Follower.waiting = [], []

    def decide(kind, version, border_ns, before="1"):
        record = ModelDecision(
            kind=kind, profile="ticks", version=version, before=before, border_ns=border_ns, hashes={}, reason=""
        )
        Follower.waiting.append(Message(OPS_MODEL, 0, 0, DECIDED, {}, encode_json(record), 0))

    return decide


def following(repository, steps):
    """Run `steps`, an asynchronous function of the versions of a process, from its start to its end."""

    async def main():
        one = Versions(Settings(), repository, Metrics())
        await one.start()
        await steps(one)
        await one.stop()

    asyncio.run(main())


def told(choice):
    return choice.models.combined.version, [one.expert for one in choice.models.networks[2:]], choice.until_ns


def test_without_decisions_the_version_that_was_published_first_is_asked(repository, decided):
    async def steps(one):
        assert told(one.at(5)) == ("1+1", [], None)

    following(repository, steps)
    assert [client.version for client in Client.opened] == ["1"]


def test_decisions_are_followed_from_their_borders_on(repository, decided):
    async def steps(one):
        decided("shadow", "2", 10)
        decided("promote", "2", 20)
        await asyncio.sleep(0.2)
        assert told(one.at(5)) == ("1+1", [], 10)
        assert told(one.at(10)) == ("1+1", ["lstm@2", "performer@2"], 20)
        assert {client.version: client.leads for client in Client.opened} == {"1": True, "2": False}
        assert told(one.at(20)) == ("2+2", [], None)
        assert {client.version: client.leads for client in Client.opened} == {"1": False, "2": True}
        decided("rollback", "1", 30, before="2")
        await asyncio.sleep(0.2)
        assert told(one.at(30)) == ("1+1", [], None)

    following(repository, steps)
    assert all(client.started and client.stopped for client in Client.opened)


def test_a_version_is_let_go_once_no_origin_needs_it_any_more(repository, decided, monkeypatch):
    now = 1_000.0
    monkeypatch.setattr(versions, "time", SimpleNamespace(monotonic=lambda: now))
    decided("shadow", "2", 10)

    async def steps(one):
        nonlocal now
        decided("withdraw", "2", 20)
        for _ in range(10):
            # Before the border the shadow is asked, for longer than a version is kept that nobody asks.
            now += versions.LEAVE_SECONDS / 2
            await asyncio.sleep(0.05)
            assert told(one.at(15)) == ("1+1", ["lstm@2", "performer@2"], 20)
        assert told(one.at(20)) == ("1+1", [], None)
        now += 2 * versions.LEAVE_SECONDS
        for _ in range(100):
            await asyncio.sleep(0.05)
            if hasattr(Client.opened[-1], "stopped"):
                break
        assert {client.version: hasattr(client, "stopped") for client in Client.opened} == {"1": False, "2": True}

    following(repository, steps)
    # The end of a process unloads nothing: others may ask the same Triton.
    assert {client.version: hasattr(client, "retired") for client in Client.opened} == {"1": False, "2": True}


def test_a_process_that_starts_later_begins_with_what_is_active(repository, decided):
    decided("promote", "2", 20)

    async def steps(one):
        assert told(one.at(25)) == ("2+2", [], None)
        assert told(one.at(15)) == ("1+1", [], 20)

    following(repository, steps)


@pytest.mark.parametrize("kind", ["shadow", "promote"])
def test_a_version_that_cannot_be_read_is_told_and_the_one_before_stays(repository, decided, caplog, kind):
    async def steps(one):
        decided(kind, "3", 20)
        await asyncio.sleep(0.2)
        assert told(one.at(25)) == ("1+1", [], None)

    with caplog.at_level(logging.ERROR):
        following(repository, steps)
    assert "version 3 is decided on but cannot be used" in caplog.text
    assert [client.version for client in Client.opened] == ["1"]


def test_a_damaged_decision_is_left_out_and_said(repository, decided, caplog):
    Follower.waiting.append(Message(OPS_MODEL, 0, 7, DECIDED, {}, b"{}", 0))

    async def steps(one):
        assert told(one.at(5)) == ("1+1", [], None)

    with caplog.at_level(logging.WARNING):
        following(repository, steps)
    assert "left out: ops.model.v1[0]@7" in caplog.text


def test_versions_that_read_other_tensors_do_not_stand_beside_each_other(repository):
    one, other = (read_models("ticks", repository, version=version) for version in ("1", "2"))
    assert unlike(one, other) == ""
    features = (*other.shape.features[:-1], "new_5m")
    newer = other._replace(shape=other.shape._replace(features=features))
    with pytest.raises(StateError, match="version 2 reads new_5m, unlike version 1: both need the same features"):
        beside(one, newer)
    longer = other._replace(shape=other.shape._replace(intervals=64))
    assert unlike(one, longer) == "version 2 reads other intervals than version 1: both need the same tensors"


def test_a_version_that_is_not_there_is_an_error_that_names_those_that_are(repository):
    with pytest.raises(StateError, match=r"lstm-ticks: there is no version 9; there is 1, 2, 3"):
        read_models("ticks", repository, version="9")


# What a shadow does to forecasts: nothing.


def forecast_of(models, answers):
    """Return the forecast that answers make, and its experts apart from it."""
    one = forecaster(models)
    one.take_row(7, row_message(0))
    batch = one.next_batch()
    given = answers(batch)
    record = next(record for record in one.settle(batch, given) if record.topic == FORECAST)
    return record.value


def with_shadow(batch, scale=1.7):
    given = answer(batch)
    return given | {f"{name}@2": outputs for name, outputs in answer(batch, scale).items()}


@pytest.mark.parametrize("scale", [1.7, np.nan])
def test_the_bits_of_a_forecast_do_not_depend_on_a_shadow(scale):
    alone = forecast_of(MODELS, answer)
    both = forecast_of(beside(MODELS, SHADOW), lambda batch: with_shadow(batch, scale))
    (alone, both) = (decode_json(value, Forecast) for value in (alone, both))
    assert {"lstm@2", "performer@2"} <= both.experts.keys() or np.isnan(scale)
    kept = {name: expert for name, expert in both.experts.items() if "@" not in name}
    assert structs.replace(both, experts=kept) == alone


class Asked:
    """A client of a version: answers, waits or fails."""

    def __init__(self, behave):
        self.behave = behave

    async def infer(self, served, arrays, deadline, rows):
        return await self.behave(served, deadline)


async def healthy(served, _deadline):
    return {"mean": served.name}


async def dead(served, _deadline):
    raise InferenceError(f"{served.name}: Stub process is not healthy.")


async def stuck(_served, _deadline):
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("active", "shadow", "experts", "reason"),
    [
        (healthy, healthy, ["lstm", "performer", "lstm@2", "performer@2"], ""),
        (healthy, dead, ["lstm", "performer"], ""),
        (healthy, stuck, ["lstm", "performer"], ""),
        (dead, healthy, [], "lstm-ticks: Stub process is not healthy."),
    ],
)
def test_only_the_active_version_decides_whether_there_is_an_answer(active, shadow, experts, reason):
    async def main():
        infer = InferStage()
        infer._outlet = SimpleNamespace(settings=Settings(inference_deadline_seconds=0.05))
        one = forecaster(beside(MODELS, SHADOW))
        one.take_row(7, row_message(0))
        choice = Choice(one.models, None, Asked(active), Asked(shadow))
        async with asyncio.timeout(1.0):
            return await infer._ask(choice, one.next_batch())

    answers, told_reason = asyncio.run(main())
    assert (list(answers), told_reason) == (experts, reason)
