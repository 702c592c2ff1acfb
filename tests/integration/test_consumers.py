"""The consumers of deploy/docs/consumers.md, as they stand there, on a real broker."""

import json
import subprocess
import sys

import pytest
from msgspec.structs import replace

from deploy.cache import DEPLOY
from deploy.node import node_packages, node_program
from deploy.stack import private_stack
from schemas.forecasts import Forecast, HorizonForecast, ModelName, Receipt
from schemas.tensors import QUANTILES
from streams.infer.records import forecast_records
from streams.kafka import Outbox, create_topics
from tests.integration.live import settings_for

pytestmark = pytest.mark.timeout(400)
GUIDE = DEPLOY / "docs" / "consumers.md"
EXAMPLES = DEPLOY / "docs" / "examples"
ORIGIN_NS = 1_767_225_600_000_000_001
QUANTILE = {f"{level:g}": 1e-6 for level in QUANTILES}
HORIZON = HorizonForecast(mean=1e-6, quantiles=QUANTILE, volatility_annualised=0.5)


def forecast(instrument, second, status):
    origin_ns = ORIGIN_NS + second * 10**9
    return Forecast(
        id=f"{instrument}@{origin_ns}",
        instrument_id=instrument,
        origin_time_ns=origin_ns,
        status=status,
        horizons={} if status == "unavailable" else {"5m": HORIZON},
        model=ModelName(name="combined", version="1", hash="0"),
        feature_set_id="f",
        valid_until_ns=origin_ns + 60 * 10**9,
        receipt=Receipt(rows=[("feature.row.v1", 0, 0, 1)], features_hash="0", batch=(16, 0)),
    )


FORECASTS = [
    forecast("binance:BTC-USDT", 0, "unavailable"),
    forecast("binance:BTC-USDT", 1, "fallback"),
    forecast("binance:BTC-USDT", 2, "model"),
]
LAST = forecast("kraken:ETH-USD", 2, "model")


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """A broker that holds each forecast twice: the second time with another band, as after a crash."""
    with private_stack(tmp_path_factory.mktemp("consumers"), ("kafka",)) as stack:
        settings = settings_for(stack, stack.folder)
        create_topics(settings)
        outbox = Outbox(settings, "test")
        repeats = [replace(each, status="fallback") for each in FORECASTS[1:]]
        for each in (*FORECASTS, *repeats, LAST):
            outbox.emit(forecast_records(each, 0)[0])
        outbox.flush_acknowledged()
        yield stack.bootstrap_servers


def told(command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


EXPECTED = [[each.id, each.status, 1e-6 if each.horizons else None] for each in (*FORECASTS, LAST)]


def test_the_python_consumer_tells_each_forecast_once_in_order(servers):
    assert told([sys.executable, EXAMPLES / "consume.py", servers, 2]) == EXPECTED


def test_the_typescript_consumer_tells_the_same(servers, tmp_path):
    # Packages are found from where the file lies.
    (tmp_path / "node_modules").symlink_to(node_packages() / "node_modules")
    script = tmp_path / "consume.mts"
    script.write_text((EXAMPLES / "consume.mts").read_text())
    assert told([node_program(), script, servers, 2]) == EXPECTED


@pytest.mark.parametrize("name", ["consume.py", "consume.mts"])
def test_the_guide_shows_the_very_files_that_run(name):
    assert (EXAMPLES / name).read_text() in GUIDE.read_text()
