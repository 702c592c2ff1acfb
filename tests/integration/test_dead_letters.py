"""Dead letters end to end: a reader with a bug, its fix, the replay, and rows as if nothing had been wrong (F11)."""

import json
import os
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from deploy.cache import CHECKOUT
from deploy.stack import private_stack
from schemas.forecasts import LateEvent, decode_json
from schemas.topics import DEAD_LETTER, LATE_EVENT, RAW_TOPICS
from streams.backfill.sources import Request, run
from streams.backfill.tasks import Inline
from streams.chaos.emptying import reset
from streams.chaos.live import fill, first_rows, pipeline
from streams.dead_letters import REPLAYED, replayed_from
from streams.dead_letters.reading import MARK, Chosen, letters
from streams.dead_letters.replaying import replay
from streams.kafka import Outbox, read_topic
from streams.sources.market import market
from tests.integration.live import settings_for

pytestmark = pytest.mark.timeout(300)
START_NS = 1_767_225_600_000_000_000
ROWS_ONLY = ("ingest", "featurize")
PARTS = ("schemas", "featurestore", "triton_models", "streams", "deploy")
BUG = """

from zlib import crc32  # noqa: E402
from schemas import DecodeError  # noqa: E402

_formats = formats


def _with_a_bug(decode):
    def decode_some(value, source):
        if crc32(value) % 15 == 0:
            raise DecodeError("expected what this reader has not learnt yet")
        return decode(value, source)

    return decode_some


@cache
def formats():
    return {name: _with_a_bug(decode) for name, decode in _formats().items()}


@cache
def run_decoders():
    return {}
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Settings of a pipeline on a broker of its own."""
    folder = tmp_path_factory.mktemp("broker")
    with private_stack(folder, services=("kafka",)) as stack:
        settings = settings_for(stack, folder)
        reset(settings, keep=())
        yield settings


@pytest.fixture(scope="module")
def before_the_fix(tmp_path_factory):
    """The environment of a checkout whose readers cannot read one message in fifteen."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        shutil.copytree(CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "streams" / "formats" / "__init__.py").open("a") as file:
        file.write(BUG)
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


def foreshock(settings, *arguments):
    command = [sys.executable, "-m", "streams.cli", *arguments]
    environment = os.environ | settings.environment()
    done = subprocess.run(
        command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def backfilled(settings, folder, *, with_late):
    path = folder / f"{with_late}.parquet"
    request = Request(settings, settings.rules, topics="raw", rows=path, with_late=with_late)
    _, report = run(request, Inline())
    return pq.read_table(path).sort_by([("row_time_ns", "ascending"), ("instrument_id", "ascending")]), report


def raw_log(settings):
    return [message for topic in RAW_TOPICS for message in read_topic(settings, topic)]


def cut_short(settings, letter):
    """Write what a replay leaves that is killed after its first record."""
    outbox = Outbox(settings, "killed")
    place = f"{letter.origin.topic}[{letter.origin.partition}]"
    end = 1 + max(
        message.offset for message in raw_log(settings)
        if (message.topic, message.partition) == letter.origin[:2]
    )  # fmt: skip
    said = json.dumps({"letters": [letter.place.offset], "ends": {place: end}}).encode()
    mark = [(MARK, b"begin"), ("x-dlq-replay-batch", b"killed"), ("x-dlq-replay-of", said)]
    outbox.send(DEAD_LETTER, None, headers=mark, partition=0)
    outbox.flush_acknowledged()
    headers = [*letter.headers, (REPLAYED, f"{letter.place} {letter.origin}".encode())]
    outbox.send(letter.origin.topic, letter.value, key=letter.key, headers=headers, partition=letter.origin.partition)
    outbox.flush_acknowledged()


def test_after_a_fix_a_replay_ingests_all_dead_letters_once_and_a_backfill_makes_the_clean_rows(
    settings, before_the_fix, tmp_path
):
    fill(settings, market(5, START_NS, 20))
    clean, _ = backfilled(settings, tmp_path, with_late=False)
    with pipeline(settings, ROWS_ONLY, environment=before_the_fix) as live:
        live.wait_until_done(seconds=120)
        assert live.said == []
    dead = list(letters(settings))
    assert len(dead) > 50
    assert {letter.stage for letter in dead} == {"ingest"}

    cut_short(settings, dead[0])
    listed = [json.loads(line) for line in foreshock(settings, "dead-letter", "list", "--json").splitlines()]
    assert [row["origin"] for row in listed] == [str(letter.origin) for letter in dead]
    assert [row["replayed"] for row in listed] == [True] + [False] * (len(dead) - 1)
    shown = foreshock(settings, "dead-letter", "show", str(dead[1].place))
    assert str(dead[1].origin) in shown
    assert dead[1].value[:16].hex(" ") in shown

    said = foreshock(settings, "dead-letter", "replay", "--reason", "decode")
    assert f"sent {len(dead) - 1} of {len(dead)} dead letters again" in said
    again = replay(settings, Chosen())
    assert (again.chosen, again.again, again.sent) == (len(dead), len(dead), {})

    came = {found[0].offset: message for message in raw_log(settings) if (found := replayed_from(message.pairs))}
    assert len(came) == len(dead)
    for letter in dead:
        message = came[letter.place.offset]
        assert (message.topic, message.partition) == letter.origin[:2]
        assert (message.key, message.value, tuple(message.pairs[:-1])) == (letter.key, letter.value, letter.headers)

    before = first_rows(settings)
    with pipeline(settings, ROWS_ONLY) as live:
        live.wait_until_done(seconds=120)
        assert live.said == []
    assert len(list(letters(settings))) == len(dead)
    assert first_rows(settings) == before  # what is written is written
    late = [decode_json(message.value, LateEvent) for message in read_topic(settings, LATE_EVENT)]
    assert len({(event.raw_topic, event.raw_partition, event.raw_offset) for event in late}) > len(dead) / 2
    rows, report = backfilled(settings, tmp_path, with_late=True)
    assert rows.equals(clean)
    assert report.changes.rows_changed == 0
