"""Which differences of a topic matter, and what they break: all else is the operator's to choose."""

import re
from pathlib import Path

import pytest

import schemas.topics as declared
from schemas.access import ACCESS
from schemas.rules import TICKS
from schemas.topics import FEATURE_ROW, FEATURIZE_CHECKPOINT, topics
from streams import topic_setup
from streams.settings import Settings
from streams.topic_setup import StateError, require_topics, topic_problems

DECLARED = topics(TICKS)
DEFAULTS = {"retention.bytes": "-1", "retention.ms": "604800000"}


class Broker:
    """Topics as declared, until a test says otherwise."""

    def __init__(self):
        self.counts = {name: topic.partitions for name, topic in DECLARED.items()}
        self.configs = {name: DEFAULTS | topic.config() for name, topic in DECLARED.items()}
        self.empty = True


@pytest.fixture
def broker(monkeypatch):
    broker = Broker()
    monkeypatch.setattr(topic_setup, "existing_topics", lambda _: broker.counts)
    monkeypatch.setattr(topic_setup, "topic_configs", lambda _, names: {name: broker.configs[name] for name in names})
    monkeypatch.setattr(topic_setup, "is_empty", lambda *_: broker.empty)
    return broker


def test_topics_as_declared_are_no_problem(broker):
    assert topic_problems(Settings()) == []


@pytest.mark.parametrize(
    ("topic", "setting", "value", "why"),
    [
        (FEATURE_ROW, "retention.ms", "3600000", "records that a restart"),
        (FEATURE_ROW, "retention.bytes", "1000", "deleted by size"),
        (FEATURE_ROW, "cleanup.policy", "compact", "lost"),
        (FEATURE_ROW, "cleanup.policy", "compact,delete", "lost"),
        (FEATURIZE_CHECKPOINT, "cleanup.policy", "delete", "deleted with time"),
        (FEATURE_ROW, "max.message.bytes", "1048588", "ends the process"),
        (FEATURE_ROW, "message.timestamp.type", "LogAppendTime", "times of the writers"),
    ],
)
def test_a_setting_that_loses_records_is_a_problem_with_a_command_that_sets_it(broker, topic, setting, value, why):
    broker.configs[topic][setting] = value
    problem = topic_problems(Settings())[0]
    assert (problem.topic, problem.setting) == (topic, setting)
    assert why in problem.what
    assert "foreshock topics apply --repair" in problem.fix
    with pytest.raises(StateError, match=rf"^{re.escape(topic)}: {re.escape(setting)} is {value}"):
        require_topics(Settings(), [topic])


def test_what_is_kept_longer_or_takes_larger_records_is_none(broker):
    broker.configs[FEATURE_ROW]["max.message.bytes"] = "33554432"
    broker.configs[FEATURIZE_CHECKPOINT]["retention.ms"] = "1"  # of a compacted topic nothing is deleted by time
    assert topic_problems(Settings()) == []


def test_a_missing_topic_is_created_and_other_partition_counts_are_what_the_settings_follow(broker):
    del broker.counts[FEATURIZE_CHECKPOINT]
    broker.counts[FEATURE_ROW] = 3
    counts, missing = sorted(topic_problems(Settings()), key=lambda problem: problem.what)
    assert str(missing) == f"{FEATURIZE_CHECKPOINT}: is missing; create it: foreshock topics apply"
    assert str(counts).startswith(f"{FEATURE_ROW}: has 3 partitions, FORESHOCK_PARTITIONS says 4; it is empty")
    broker.empty = False
    fixes = [problem.fix for problem in topic_problems(Settings())]
    assert any("export FORESHOCK_PARTITIONS=3" in fix for fix in fixes)


def test_one_line_names_the_first_problem_and_says_where_the_others_are(broker):
    broker.counts.clear()
    with pytest.raises(StateError, match=r"is missing; .*\(and 1 more: foreshock doctor\)$") as caught:
        require_topics(Settings(), [FEATURE_ROW, FEATURIZE_CHECKPOINT])
    assert "\n" not in str(caught.value)


def test_every_topic_has_who_writes_it():
    # Decisions on models and features are written by commands, which the administrator runs.
    written = {topic for access in ACCESS.values() for topic in access.writes}
    assert DECLARED.keys() - written == {"ops.model.v1"}
    assert all(topic in DECLARED for access in ACCESS.values() for topic in access.topics)


@pytest.mark.parametrize("stage", ["ingest", "featurize", "infer", "score", "store", "parity"])
def test_a_stage_has_access_to_the_topics_that_its_code_names(stage):
    source = "".join(path.read_text() for path in (Path(topic_setup.__file__).parent / stage).glob("*.py"))
    names = set(re.findall(r"^(?:from schemas\.topics import (?:\((.*?)\)|(.*?)))$", source, re.MULTILINE | re.DOTALL))
    constants = {word for pair in names for text in pair for word in re.findall(r"\b[A-Z_]{5,}\b", text)}
    named = [getattr(declared, name) for name in constants]
    topics_named = {topic for one in named for topic in ([one] if isinstance(one, str) else one)}
    assert topics_named - set(ACCESS[stage].topics) == set()
