"""Rows over TLS with a user for each stage equal the backfill; without the password or a rule nothing hangs."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from deploy.cache import CHECKOUT
from deploy.ports import free_ports
from deploy.stack import private_stack
from streams.allowed import allow
from streams.backfill import backfill_topics
from streams.chaos.live import first_rows, pipeline, rows_hash
from streams.kafka import DeliveryError, Outbox, read_topic
from streams.pipeline import prepare, raw_producer
from streams.settings import Settings
from streams.sources.market import market
from streams.sources.replay import replay
from tests.integration.live import settings_for

pytestmark = pytest.mark.timeout(300)
START_NS = 1_767_225_600_000_000_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A broker that asks everybody who he is."""
    with private_stack(tmp_path_factory.mktemp("secured"), services=("kafka",), secured=True) as stack:
        yield stack


@pytest.fixture(scope="module")
def as_user(stack, tmp_path_factory):
    """Settings of a process that connects as a user; topics and rules are there."""
    base = settings_for(stack, tmp_path_factory.mktemp("state"))

    def settings_of(user):
        return Settings.from_environment(base.environment() | stack.security.client_environment(user))

    prepare(settings_of("admin"))
    allow(settings_of("admin"))
    return settings_of


def test_a_pipeline_of_users_with_passwords_over_tls_makes_the_rows_of_the_backfill(stack, as_user):
    admin = as_user("admin")
    replay(market(5, START_NS, 20), raw_producer(as_user("replay")), admin.rules)
    second = replace(admin, metrics_port=free_ports().kafka)
    users = {name: stack.security.client_environment(name) for name in ("ingest", "featurize")}
    with (
        pipeline(admin, ("ingest",), environment=users["ingest"]) as ingest,
        pipeline(second, ("featurize",), environment=users["featurize"]) as featurize,
    ):
        ingest.wait_until_done(seconds=120)
        featurize.wait_until_done(seconds=120)
        assert ingest.said == featurize.said == []
    rows = first_rows(admin)
    assert len(rows) > 50
    assert rows_hash(rows) == rows_hash(backfill_topics(admin))


def said_by(settings, stage, environment=None):
    """What a stage says that does not start: one line, soon."""
    command = [sys.executable, "-m", "streams.cli", stage]
    given = os.environ | settings.environment() | (environment or {})
    started = time.monotonic()
    done = subprocess.run(command, env=given, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)
    assert time.monotonic() - started < 40
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    return line


def test_a_wrong_password_is_one_line_and_is_not_in_it(as_user):
    line = said_by(as_user("featurize"), "featurize", {"FORESHOCK_KAFKA_PASSWORD": "not-the-right-one"})
    assert "the broker does not let featurize in" in line
    assert "FORESHOCK_KAFKA_USER, its password" in line
    assert "not-the-right-one" not in line


def test_a_missing_rule_is_one_line_that_names_the_topic_and_the_command(as_user):
    line = said_by(as_user("ingest"), "featurize")
    assert "exchange.event.v1: READ: ingest is not allowed to; as administrator: foreshock topics allow" in line


def test_a_user_may_write_and_read_its_own_topics_alone(as_user):
    outbox = Outbox(replace(as_user("ingest"), delivery_timeout_seconds=10.0), "test")
    outbox.send("feature.row.v1", b"forged", partition=0)
    with pytest.raises(DeliveryError, match="Topic authorization failed"):
        outbox.flush_acknowledged(20)
    assert not any(message.value == b"forged" for message in read_topic(as_user("admin"), "feature.row.v1"))
