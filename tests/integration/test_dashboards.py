"""After a run as in the demo, every query of every dashboard has an answer from a real Prometheus."""

import json
import math
import os
import re
import subprocess
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import replace

import pytest

from deploy.dashboards.boards import FOLDER
from deploy.ports import free_range
from deploy.stack import MONITORING, SERVICES, private_stack
from streams.run import foreshock
from streams.targets import targets_folder
from tests.integration.live import TICK_MODELS, settings_for

MARKET_SECONDS, SPEED = 300, 6
PATIENCE_SECONDS = 280
PROCESSES = 7  # the stages, store, parity, and who looks after them
STANDINS = {"__rate_interval": "1m", "__range": "10m"}


def queries():
    """Each query with where it is from; variables stand for all that can be chosen."""
    for path in sorted(FOLDER.glob("*.json")):
        board = json.loads(path.read_text())
        for panel in board.get("panels", ()):
            for target in panel.get("targets", ()):
                yield f"{path.stem}: {panel['title']} {target['refId']}", substituted(target["expr"])
        for annotation in board.get("annotations", {}).get("list", ()):
            yield f"{path.stem}: {annotation['name']}", substituted(annotation["expr"])
        for variable in board.get("templating", {}).get("list", ()):
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
                yield f"{path.stem}: ${variable['name']}", f'group by ({label}) ({metric}{{{label}!=""}})'


def substituted(expression):
    return re.sub(r"\$\{?(\w+)\}?", lambda found: STANDINS.get(found[1], ".+"), expression)


def numbers(prometheus, expression):
    """Return what Prometheus answers to a query, without what is no number."""
    asked = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"http://{prometheus}/api/v1/query?{asked}", timeout=30) as answer:
        found = [float(series["value"][1]) for series in json.loads(answer.read())["data"]["result"]]
    return [number for number in found if not math.isnan(number)]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """Where Prometheus answers, beside Kafka, Triton and an Alertmanager of this file's own."""
    with private_stack(tmp_path_factory.mktemp("dashboards"), SERVICES, models=TICK_MODELS) as stack:
        settings = replace(
            settings_for(stack, stack.folder / "state", metrics_port=free_range(PROCESSES)),
            explain_every=5,
            parity_share=1.0,
            store="on",
        )
        stack.watch(targets_folder(settings))
        stack.up(MONITORING)
        with running(settings, stack.prometheus, stack.folder / "run.log"):
            yield stack.prometheus


@contextmanager
def running(settings, prometheus, log):
    """`foreshock run`, and once its processes answer a market that is played to it."""
    with log.open("wb") as file:
        run = subprocess.Popen(foreshock("run"), env=environment(settings), stdout=file, stderr=file)
        replay = None
        try:
            give_up = time.monotonic() + PATIENCE_SECONDS
            while numbers(prometheus, 'sum(up{job="foreshock"})') != [PROCESSES]:
                assert run.poll() is None, log.read_text()
                assert time.monotonic() < give_up, log.read_text()
                time.sleep(0.5)
            command = foreshock("replay", "--market", str(MARKET_SECONDS), "--speed", str(SPEED))
            replay = subprocess.Popen(command, env=environment(settings), stdout=file, stderr=file)
            yield
        finally:
            for process in (replay, run):
                if process is not None:
                    process.terminate()
                    process.wait(30)


def environment(settings):
    return {**os.environ, **settings.environment()}


@pytest.mark.timeout(800)
def test_every_query_has_data_after_a_run(prometheus):
    missing = dict(queries())
    assert len(missing) > 100
    give_up = time.monotonic() + PATIENCE_SECONDS
    while missing and time.monotonic() < give_up:
        missing = {place: asked for place, asked in missing.items() if not numbers(prometheus, asked)}
        time.sleep(2.0)
    assert not missing, "\n".join(f"{place}: {asked}" for place, asked in missing.items())
