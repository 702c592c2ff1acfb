"""A wrong set-up of topics is found, named and put right by the command that is named; workers refuse it (F23)."""

import json
import os
import subprocess
import sys

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from confluent_kafka.cimpl import NewTopic

from deploy.cache import CHECKOUT
from deploy.stack import private_stack
from schemas import DecodeError
from schemas.rules import SECOND_NS
from schemas.topics import (
    DEAD_LETTER,
    FEATURE_ROW,
    FEATURIZE_CHECKPOINT,
    FORECAST,
    INFER_CHECKPOINT,
    RAW_EXCHANGE,
    RAW_SENTIMENT,
)
from streams.chaos.live import fill
from streams.dead_letters import dead_letter
from streams.kafka import Outbox, admin
from streams.pipeline import prepare
from streams.sources import RawMessage
from streams.stage import Message
from tests.integration.live import settings_for

pytestmark = pytest.mark.timeout(200)
REFUSALS = {
    "ingest": f"foreshock: {RAW_EXCHANGE}: retention.ms is 3600000, declared is -1",
    "featurize": f"foreshock: {FEATURIZE_CHECKPOINT}: is missing; create it: foreshock topics apply",
    "infer": f"foreshock: {FEATURE_ROW}: has 3 partitions, FORESHOCK_PARTITIONS says 4",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Settings of a broker whose topics are wrong in five ways, two of them in empty topics."""
    folder = tmp_path_factory.mktemp("broker")
    with private_stack(folder, services=("kafka",)) as stack:
        settings = settings_for(stack, folder)
        prepare(settings)
        client = admin(settings)
        done(client.delete_topics([FEATURE_ROW, FEATURIZE_CHECKPOINT], operation_timeout=20))
        done(
            client.create_topics(
                [NewTopic(FEATURE_ROW, 3, 1, config={"max.message.bytes": "4194304", "retention.ms": "-1"})]
            )
        )
        done(client.incremental_alter_configs([
            changed(RAW_EXCHANGE, "retention.ms", "3600000"),
            changed(RAW_SENTIMENT, "cleanup.policy", "compact"),
            changed(INFER_CHECKPOINT, "cleanup.policy", "delete"),
        ]))  # fmt: skip
        done(client.alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions("score", [TopicPartition(FORECAST, 1, 77)])]
        ))  # fmt: skip
        yield settings


def done(futures):
    for future in futures.values():
        future.result(timeout=20)


def changed(topic, name, value):
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    return ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])


def started(settings, *arguments):
    command = [sys.executable, "-m", "streams.cli", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | settings.environment(), cwd=CHECKOUT, **pipes)


def findings(settings):
    process = started(settings, "doctor", "--json")
    out, err = process.communicate(timeout=100)
    assert process.returncode in {0, 1}, err
    return [json.loads(line) for line in out.splitlines()]


def wrong(found, check):
    return {
        finding["subject"]: finding for finding in found if finding["check"] == check and finding["severity"] == "error"
    }


def test_a_wrong_set_up_is_named_refused_and_put_right_by_the_named_command(settings):
    found = findings(settings)
    topics = wrong(found, "topics")
    assert topics.keys() == {FEATURE_ROW, FEATURIZE_CHECKPOINT, RAW_EXCHANGE, RAW_SENTIMENT, INFER_CHECKPOINT}
    assert "has 3 partitions" in topics[FEATURE_ROW]["what"]
    assert "cleanup.policy is delete" in topics[INFER_CHECKPOINT]["what"]
    assert "77" in wrong(found, "groups")["score"]["what"]
    fine = {(finding["check"], finding["subject"]) for finding in found if finding["severity"] == "ok"}
    assert ("clock", "skew") in fine
    assert ("broker", settings.bootstrap_servers) in fine
    assert any(subject.startswith("broker's log") for _, subject in fine)

    workers = {name: started(settings, name) for name in REFUSALS}
    for name, process in workers.items():
        _, said = process.communicate(timeout=60)
        lines = said.strip().splitlines()
        assert process.returncode == 1, (name, said)
        assert len(lines) == 1, said
        assert lines[0].startswith(REFUSALS[name]), said

    for named in sorted({finding["fix"].partition("foreshock ")[2] for finding in topics.values()}):
        process = started(settings, *named.split())
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert wrong(findings(settings), "topics") == {}
    assert process.returncode == 0
    assert out


def test_a_source_that_fell_silent_and_what_cannot_be_read_are_told(settings):
    first_ns, poison = 1_767_225_600_000_000_000, b"not JSON"
    lives = [raw("coinbase", first_ns + second * SECOND_NS) for second in range(0, 400, 5)]
    silent = [raw("kraken", first_ns + second * SECOND_NS) for second in range(0, 100, 5)]
    fill(settings, sorted(lives + silent, key=lambda message: message.receive_time_ns))
    outbox = Outbox(settings, "test")
    message = Message(RAW_EXCHANGE, 0, 7, None, {}, poison, 0, [])
    letter = dead_letter("ingest", message, DecodeError("expected JSON"), "decode")
    outbox.send(letter.topic, letter.value, headers=dict(letter.headers), partition=0)
    outbox.flush_acknowledged(20)
    found = {(each["check"], each["subject"]): each for each in findings(settings)}
    assert found["sources", "kraken"]["severity"] == "warning"
    assert found["sources", RAW_EXCHANGE]["what"] == "1 heard in the last 60 s: coinbase"
    assert found["dead letters", DEAD_LETTER]["what"] == "in the last hour: 1 (decode in ingest)"
    assert "none yet" in found["forecasts", FORECAST]["what"]


def raw(source, time_ns):
    return RawMessage(RAW_EXCHANGE, source.encode(), b"{}", source, f"{source}-ws", time_ns)
