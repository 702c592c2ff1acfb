"""The live page in a real Chromium: what it shows is what the topics hold, and no record becomes part of the page."""

import math
import os
import time
from dataclasses import replace

import pytest
from confluent_kafka import Producer

from deploy.chromium import FLAGS, chromium
from schemas.forecasts import encode_json
from schemas.instruments import base_asset, partition_of
from schemas.rules import MINUTE_NS, SECOND_NS
from schemas.tensors import YEAR_NS
from schemas.topics import ATTENTION, CALIBRATION, FORECAST, FORECAST_SCORE
from streams.bench.forecasts import attention_of, calibration_of, forecast_of, score_of
from streams.kafka import create_topics, producer_config
from streams.run import Piece, Supervisor, foreshock
from tests.integration.live import settings_for

pytestmark = pytest.mark.timeout(240)
NAME = "viewed:AAA-USDT"
HOSTILE = "viewed:<img src=x onerror=alert(1)>-USDT"
COUNT = 20
SHOWS = "([name, text]) => document.querySelector(`[data-name='${name}'] .strong`).textContent === text"
"""Records come one after another: what is shown is that of the last in the end."""
WHOLE = """(count) => {
    const rows = [...document.querySelectorAll("#numbers tbody tr")];
    return rows.length === count && rows.every((row) => ["inside", "outside"].includes(row.cells[7].textContent));
}"""


@pytest.fixture(scope="module")
def settings(kafka, tmp_path_factory):
    made = replace(settings_for(kafka, tmp_path_factory.mktemp("view")), metrics_port=0)
    create_topics(made)
    return made


@pytest.fixture(scope="module")
def write(settings):
    producer = Producer(producer_config(settings, "view-test"))

    def written(topic, record):
        partition = partition_of(base_asset(record.instrument_id), settings.partitions)
        producer.produce(topic, encode_json(record), key=record.instrument_id.encode(), partition=partition)
        assert producer.flush(20) == 0

    return written


@pytest.fixture(scope="module")
def start_ns():
    return (time.time_ns() - 3 * MINUTE_NS) // SECOND_NS * SECOND_NS


@pytest.fixture(scope="module")
def address(settings, write, start_ns):
    """A page that knows 20 forecasts of an instrument, and one of another with a hostile name."""
    for tick in range(COUNT):
        write(FORECAST, forecast_of(NAME, start_ns + tick * SECOND_NS))
        write(FORECAST_SCORE, score_of(NAME, start_ns + tick * SECOND_NS, "1m"))
    write(ATTENTION, attention_of(NAME, start_ns + (COUNT - 1) * SECOND_NS))
    write(CALIBRATION, calibration_of(NAME, start_ns, "1m"))
    write(FORECAST, forecast_of(HOSTILE, start_ns))
    environment = settings.environment() | {"PYTHONUNBUFFERED": "1"}
    command = foreshock("view", "--port", "0", "--no-browser")
    with Supervisor(settings, [Piece(name="view", command=command, environment=environment)]) as supervisor:
        log, give_up = supervisor.log("view"), time.monotonic() + 60
        while not log.exists() or "http://" not in log.read_text():
            assert time.monotonic() < give_up, log.read_text()
            supervisor.look()
            time.sleep(0.1)
        yield log.read_text().split()[0]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    found = chromium()
    with sync_playwright() as driver:
        environment = os.environ | found.environment
        made = driver.chromium.launch(executable_path=found.program, args=list(FLAGS), env=environment, timeout=90_000)
        yield made
        made.close()


@pytest.fixture(scope="module")
def page(browser, address):
    opened = browser.new_page()
    opened.set_default_timeout(60_000)
    opened.troubles = []
    opened.on("pageerror", lambda error: opened.troubles.append(str(error)))
    opened.on("dialog", lambda dialog: opened.troubles.append("a dialog"))
    opened.goto(f"{address}#instrument={NAME}&horizon=1m")
    opened.wait_for_selector(f"[data-name='{NAME}'] .strong:not(:empty)")
    opened.wait_for_selector("#attention .measure")
    opened.wait_for_function("() => document.querySelector('#coverage').innerText.includes('90.3')")
    return opened


def yearly(variance, minutes=1):
    """The text of a variance as the page writes volatility."""
    percent = math.sqrt(variance * YEAR_NS / (minutes * MINUTE_NS)) * 100
    return f"{percent:.{0 if percent >= 99.95 else 1 if percent >= 9.995 else 2}f}\u2009%"


def test_the_page_shows_the_numbers_of_the_records(page, start_ns):
    last = forecast_of(NAME, start_ns + (COUNT - 1) * SECOND_NS).horizons["1m"]
    page.wait_for_function(SHOWS, arg=[NAME, yearly(last.quantiles["0.5"])])
    facts = page.inner_text("#facts")
    assert yearly(last.quantiles["0.5"]) in facts
    assert yearly(last.quantiles["0.95"]) in facts
    assert "90.3\u2009%" in page.inner_text("#coverage")
    attention = attention_of(NAME, start_ns)
    for modality, mass in attention.modalities.items():
        assert f"{mass * 100:.1f}\u2009%" in page.inner_text(f"#attention .measure:has(.name[title={modality}])")


def test_every_point_of_the_chart_is_also_there_as_text(page, start_ns):
    page.click("#numbers summary")
    rows = page.locator("#numbers tbody tr")
    page.wait_for_function(WHOLE, arg=COUNT)
    shown = [row.split("\t") for row in rows.all_inner_texts()]
    for tick, cells in zip(reversed(range(COUNT)), shown, strict=True):
        one = forecast_of(NAME, start_ns + tick * SECOND_NS).horizons["1m"].quantiles
        realised = score_of(NAME, start_ns + tick * SECOND_NS, "1m").realised_variance
        assert cells[2:5] == [yearly(one["0.05"]), yearly(one["0.5"]), yearly(one["0.95"])]
        assert float(cells[5]) == pytest.approx(one["0.5"], rel=1e-3)
        assert float(cells[6]) == pytest.approx(realised, rel=1e-3)
        assert cells[7] == ("inside" if one["0.05"] <= realised <= one["0.95"] else "outside")
    page.click("#numbers summary")


def test_a_new_record_comes_without_being_asked_for(page, write, start_ns):
    newer = forecast_of(NAME, start_ns + COUNT * SECOND_NS, place=30)
    write(FORECAST, newer)
    wanted = yearly(newer.horizons["1m"].quantiles["0.5"])
    page.wait_for_function(SHOWS, arg=[NAME, wanted])


def test_the_keyboard_opens_the_receipt_that_the_topic_holds(page, start_ns):
    page.locator("body").evaluate("() => document.activeElement.blur()")  # Enter is for what has the focus
    page.keyboard.press("Enter")
    page.wait_for_selector("#receipt section")
    record = forecast_of(NAME, start_ns + COUNT * SECOND_NS, place=30)
    assert page.text_content("#receipt details pre") == encode_json(record).decode()
    assert "offsets 0 to 31" in page.inner_text("#receipt")
    page.keyboard.press("Escape")
    assert page.locator("#receipt[open]").count() == 0


def test_what_a_record_says_never_becomes_part_of_the_page(page):
    page.keyboard.press("/")
    page.keyboard.type("onerror")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#name').textContent.includes('onerror')")
    page.keyboard.press("r")
    page.wait_for_selector("#receipt section")
    assert page.locator("#receipt img, #list img, #detail img").count() == 0
    page.keyboard.press("Escape")
    assert page.troubles == []
