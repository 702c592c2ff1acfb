"""Processes of the store on real Kafka, driven by a test: started, killed, waited for."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deploy.ports import free_ports
from schemas.metrics import OFFSET_LAG
from schemas.topics import FEATURE_ROW
from streams.chaos.emptying import reset
from streams.scrape import by_label, scrape
from streams.settings import Settings

PARTITIONS = 4
# One process that has imported all and forks the store for each line: a start takes no second then.
LAUNCHER = """
import json, os, signal, sys
import pyarrow.dataset, deltalake
from streams.settings import Settings
from streams.store import run_store
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    if (pid := os.fork()) == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.update(json.loads(line))
        run_store(Settings.from_environment())
        os._exit(0)
    print(pid, flush=True)
"""


def settings_of_store(kafka, folder, **changes):
    """Settings of the store's process on emptied topics, with small and quick commits."""
    settings = Settings(
        **{
            "bootstrap_servers": kafka.bootstrap_servers,
            "state_dir": folder,
            "worker": 0,
            "metrics_port": free_ports().kafka,
            "store_commit_rows": 400,
            "store_commit_seconds": 0.1,
            "log_level": "INFO",
            **changes,
        }
    )
    reset(settings, keep=())
    return settings


@contextmanager
def launcher(settings, folder, more=None):
    """Yield what starts a process of the store, with changed settings, and returns its pid; all end with the block.

    `more`: environment variables that are no settings.
    """
    environment = os.environ | settings.environment() | (more or {})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    pids = []
    with (
        (folder / "store.log").open("w") as log,
        subprocess.Popen([sys.executable, "-c", LAUNCHER], env=environment, stderr=log, **pipes) as process,
    ):

        def start(**changes):
            process.stdin.write(json.dumps(replace(settings, **changes).environment()) + "\n")
            process.stdin.flush()
            pids.append(int(process.stdout.readline()))
            return pids[-1]

        try:
            yield start
        finally:
            for pid in filter(runs, pids):
                os.kill(pid, signal.SIGKILL)
            process.kill()


def send(outbox, messages):
    for message in messages:
        outbox.send(message.topic, message.value, headers=message.headers, partition=message.partition)


def positions(store):
    """Up to where the table holds each partition; the writer of a test takes nothing from another."""
    if store.open("rows") is None:
        return [0] * PARTITIONS
    table = store.open("rows")
    return [table.transaction_version(f"{FEATURE_ROW}/{partition}") or 0 for partition in range(PARTITIONS)]


def wait(condition, what, log, seconds=30):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"waited for {what}\n{log.read_text()[-3000:]}"
        time.sleep(0.02)


def lag(settings):
    """Messages not read yet; None where the process does not say it."""
    samples = scrape([settings.metrics_port])
    return None if samples is None else by_label(samples, OFFSET_LAG, "topic").get(FEATURE_ROW)


def runs(pid):
    return Path(f"/proc/{pid}").exists()


def end(pid, number, log):
    os.kill(pid, number)
    wait(lambda: not runs(pid), f"the end of {pid}", log)
