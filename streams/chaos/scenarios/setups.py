"""Topics that are not as they are declared."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace

from msgspec import structs

from schemas.topics import FEATURE_ROW, FEATURIZE_CHECKPOINT, INFER_CHECKPOINT, topics
from streams.chaos.scenario import ROWS_ONLY, Trial, scenario, since
from streams.kafka import admin, create, existing_topics
from streams.run import foreshock
from streams.topic_setup import repair, topic_problems

_REFUSAL_SECONDS = 30
_ADMIN_SECONDS = 20.0
_DONE_SECONDS = 90.0
_HOUR_MS = 3_600_000


@scenario("F23", "topics with too few partitions, without a changelog, with too short a retention", seeds=1, seconds=60)
def break_topics(trial: Trial) -> None:
    """Break topics; a worker that needs one must not start, the doctor must say what to do, and it has to help."""
    refusals = []
    for topic, stage, spoil in _FAULTS:
        trial.say(f"{topic} is wrong")
        spoil(trial, topic)
        refusals.append(_refused(trial, topic, stage))
        _diagnosed(trial, topic)
        repair(trial.settings)
    trial.require(not topic_problems(trial.settings), f"still wrong: {topic_problems(trial.settings)}")
    trial.figure("set-ups that were wrong", len(refusals))
    trial.figure("a worker refuses within", max(refusals), "s", limit=_REFUSAL_SECONDS)
    trial.fill(trial.market(10))
    with trial.running(ROWS_ONLY) as live:
        live.wait_until_done(seconds=_DONE_SECONDS)
        trial.require(not live.said, f"processes ended behind the repair: {live.said}")


def _refused(trial: Trial, topic: str, stage: str) -> float:
    """Start a worker; return the seconds until it has ended."""
    started = time.monotonic()
    environment = os.environ | replace(trial.settings, metrics_port=0).environment()
    try:
        ended = subprocess.run(  # noqa: S603 - our own command line
            foreshock(stage), env=environment, capture_output=True, text=True, timeout=_DONE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        trial.require(False, f"{stage} runs although {topic} is wrong")
        return since(started)
    trial.require(ended.returncode != 0, f"{stage} ended with code 0 although {topic} is wrong")
    trial.require(topic in ended.stderr, f"{stage} does not name {topic}: {ended.stderr[-300:]}")
    return since(started)


def _diagnosed(trial: Trial, topic: str) -> None:
    """Have the doctor look, as people do."""
    environment = os.environ | trial.settings.environment()
    told = subprocess.run(  # noqa: S603 - our own command line
        foreshock("doctor"), env=environment, capture_output=True, text=True, timeout=_DONE_SECONDS, check=False
    )
    trial.require(told.returncode != 0, f"the doctor finds nothing wrong although {topic} is")
    said = told.stdout + told.stderr
    trial.require(topic in said and "foreshock topics apply" in said, f"the doctor says of {topic}: {said[-300:]}")


def _delete(trial: Trial, topic: str) -> None:
    client = admin(trial.settings)
    for future in client.delete_topics([topic], operation_timeout=_ADMIN_SECONDS).values():
        future.result()
    give_up = time.monotonic() + _ADMIN_SECONDS
    while topic in existing_topics(trial.settings) and time.monotonic() < give_up:
        time.sleep(0.1)


def _fewer_partitions(trial: Trial, topic: str) -> None:
    _delete(trial, topic)
    create(trial.settings, [structs.replace(topics(trial.settings.rules)[topic], partitions=1)])


def _short_retention(trial: Trial, topic: str) -> None:
    _delete(trial, topic)
    create(trial.settings, [structs.replace(topics(trial.settings.rules)[topic], retention_ms=_HOUR_MS)])


_FAULTS: tuple[tuple[str, str, Callable[[Trial, str], None]], ...] = (
    (FEATURIZE_CHECKPOINT, "featurize", _delete),
    (INFER_CHECKPOINT, "infer", _fewer_partitions),
    (FEATURE_ROW, "infer", _short_retention),
)
