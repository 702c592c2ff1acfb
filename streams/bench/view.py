"""How soon the live page shows a record, and what its server takes, with many instruments at one forecast a second."""

import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
from confluent_kafka import Producer

from deploy.chromium import FLAGS, chromium
from schemas.errors import StackError
from schemas.rules import SECOND_NS
from streams.bench.forecasts import instruments, second_of
from streams.bench.ground import Ground, Say, ground
from streams.bench.memory import course
from streams.bench.report import Figure, Outcome, after, machine
from streams.kafka import producer_config
from streams.run import Piece, Supervisor, foreshock
from streams.settings import Settings

_MB = 1 << 20
_LOOK_SECONDS = 5.0
_START_SECONDS = 60.0
_SETTLED_SECONDS = 20.0
"""A page that has just been opened reads its files and the history: that is no update."""
_OBSERVE = """
window.delays = [];
new PerformanceObserver((list) => {
  for (const mark of list.getEntriesByName("shown")) window.delays.push(...mark.detail);
}).observe({ type: "mark" });
"""


class _Sending(threading.Thread):
    """Writes one second of records each second, each with its time of writing."""

    def __init__(self, place: Ground, count: int) -> None:
        super().__init__(daemon=True)
        self._names, self._partitions = instruments(count), place.settings.partitions
        self._producer = Producer(producer_config(place.settings, "foreshock-bench"))
        self._ending = threading.Event()

    def run(self) -> None:
        """Send until stopped."""
        origin_ns = time.time_ns() // SECOND_NS * SECOND_NS
        while not self._ending.is_set():
            origin_ns += SECOND_NS
            self._ending.wait(max(0.0, (origin_ns - time.time_ns()) / 1e9))
            for record in second_of(self._names, origin_ns, self._partitions):
                self._producer.produce(record.topic, record.value, key=record.key, partition=record.partition)
                self._producer.poll(0)
        self._producer.flush(10.0)

    def stop(self) -> None:
        """End, and wait for it."""
        self._ending.set()
        self.join(15.0)


class _Listening(threading.Thread):
    """Reads the server's events as a page does, and notes how old each record is when it is here."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self.delays_ms: list[float] = []

    def run(self) -> None:
        """Listen until the server ends."""
        newest = 0
        with urllib.request.urlopen(f"{self._address}events?horizon=1m", timeout=60) as events:  # noqa: S310 - our own server
            for line in events:
                if not line.startswith(b'data: {"version"'):
                    continue
                now_ms = time.time() * 1000
                told = [row.get("record_ms", 0) for row in msgspec.json.decode(line[6:])["rows"]]
                self.delays_ms += [now_ms - written for written in told if written > newest]
                newest = max(newest, *told, 0)


def run(settings: Settings, count: int, seconds: int, say: Say) -> Outcome:
    """Show `count` instruments for `seconds`, and return delays of events and page, CPU share and memory."""
    before = machine()
    with ground(settings) as place, _served(place) as (address, server):
        sender, listener = _Sending(place, count), _Listening(address)
        sender.start()
        listener.start()
        with _page(address) as page:
            say("settling")
            time.sleep(min(_SETTLED_SECONDS, seconds / 2))
            listener.delays_ms.clear()
            page.clear()
            cpu, began = _cpu(server), time.monotonic()
            sizes = list(_watched(server, page, began + seconds, say))
            share = (_cpu(server) - cpu) / (time.monotonic() - began)
            delays = page.delays_ms()
        sender.stop()
    figures = [*_delays("record to the event at the page", listener.delays_ms, "")]
    figures += _delays("record to the painted page", delays, "<= 200") if delays else []
    figures.append(Figure(what="the server's share of a core", value=100 * share, unit="%", wanted="<= 10"))
    figures += course(sizes)
    run_of = {"instruments": str(count), "seconds": str(seconds), "pages": "2" if delays else "1"}
    return Outcome(bench="view", machine=after(before), run=run_of, figures=figures)


def _delays(what: str, delays_ms: list[float], wanted: str) -> Iterator[Figure]:
    if not delays_ms:
        raise StackError("the page was told of no record: see the log of the server")
    for name, level in (("p50", 50), ("p99", 99)):
        yield Figure(what=f"{what}, {name}", value=float(np.percentile(delays_ms, level)), unit="ms", wanted=wanted)


def _cpu(server: psutil.Process) -> float:
    times = server.cpu_times()
    return float(times.user + times.system)


def _watched(server: psutil.Process, page: "_Page", until: float, say: Say) -> Iterator[tuple[float, dict[str, float]]]:
    while time.monotonic() < until:
        time.sleep(min(_LOOK_SECONDS, max(0.1, until - time.monotonic())))
        size = server.memory_info().rss / _MB
        page.gather()
        say(f"server {size:.0f} MB, {until - time.monotonic():.0f} s to go")
        yield time.time(), {"view": size}


@contextmanager
def _served(place: Ground) -> Iterator[tuple[str, psutil.Process]]:
    """Run the server as a process of its own; yields its address and the process."""
    command = foreshock("view", "--port", "0", "--no-browser")
    piece = Piece(name="view", command=command, environment=place.settings.environment() | {"PYTHONUNBUFFERED": "1"})
    with Supervisor(place.settings, [piece]) as supervisor:
        give_up = time.monotonic() + _START_SECONDS
        while not (address := _address(supervisor.log("view"))):
            supervisor.look()
            if time.monotonic() > give_up:
                raise StackError(f"the server did not start: see {supervisor.log('view')}")
            time.sleep(0.1)
        pid = supervisor.pid("view")
        if pid is None:
            raise StackError(f"the server has ended: see {supervisor.log('view')}")
        yield address, psutil.Process(pid)


def _address(log: Path) -> str:
    lines = log.read_text().splitlines() if log.exists() else []
    return next((line.split()[0] for line in lines if line.startswith("http://")), "")


class _Page:
    """A page in Chromium, or nothing where playwright is not installed."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self._delays: list[float] = []

    def gather(self) -> None:
        """Take over the delays that the page has noted so far."""
        if self._page is not None:
            self._delays += self._page.evaluate("window.delays.splice(0)")

    def clear(self) -> None:
        """Forget what was noted so far."""
        self.gather()
        self._delays.clear()

    def delays_ms(self) -> list[float]:
        """Return all that was noted."""
        self.gather()
        return self._delays


@contextmanager
def _page(address: str) -> Iterator[_Page]:
    if find_spec("playwright") is None:  # a package of the tests
        yield _Page(None)
        return
    from playwright.sync_api import sync_playwright

    found = chromium()
    with sync_playwright() as driver:
        environment: Any = os.environ | found.environment
        browser = driver.chromium.launch(executable_path=found.program, args=list(FLAGS), env=environment)
        try:
            page = browser.new_page()
            page.add_init_script(_OBSERVE)
            page.goto(address)
            yield _Page(page)
        finally:
            browser.close()
