"""What a quant adds: a new file of features, and nothing else."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from deploy.cache import CHECKOUT
from deploy.stack import private_stack
from featurestore.catalogue import Catalogue
from schemas.rows import decode_rows
from streams.backfill import backfill_topics
from streams.chaos.emptying import reset
from streams.chaos.live import first_rows, pipeline, rows_hash
from streams.kafka import create_topics
from streams.pipeline import raw_producer
from streams.sources.market import market
from streams.sources.replay import replay
from tests.integration.live import settings_for

pytestmark = pytest.mark.timeout(400)
START_NS = 1_767_225_600_000_000_000
ROWS_ONLY = ("ingest", "featurize")


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """A broker."""
    with private_stack(tmp_path_factory.mktemp("servers"), ("kafka",)) as stack:
        yield stack


@pytest.fixture
def settings(servers, tmp_path):
    """Settings of a pipeline whose topics are all empty."""
    settings = settings_for(servers, tmp_path)
    reset(settings, keep=())
    return settings


ORDER_FLOW = '''"""Order-flow features."""
from featurestore import feature, tile
from schemas import Trade


@tile(Trade)
def signed_volume(size, side):
    """Buyer minus seller volume, in base units."""
    return (size * side).sum()


@feature(window="5m")
def order_flow_imbalance(signed_volume, volume):
    """Signed volume over total volume, in [-1, 1]."""
    return signed_volume.sum(-1) / volume.sum(-1)
'''
PARTS = ("schemas", "featurestore", "triton_models", "streams", "deploy", "tests")


@pytest.fixture
def order_flow(tmp_path):
    """A folder with the quant's file alone."""
    folder = tmp_path / "quant"
    folder.mkdir()
    (folder / "order_flow.py").write_text(ORDER_FLOW)
    return folder


@pytest.fixture
def checkout(tmp_path, order_flow):
    """A copy of this checkout with a quant's new file in it, and no other edit."""
    folder = tmp_path / "checkout"
    for part in PARTS:
        shutil.copytree(CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    shutil.copy(order_flow / "order_flow.py", folder / "featurestore" / "features")
    return folder


def test_a_new_file_of_features_is_in_the_rows_and_in_the_automatic_tests(settings, checkout, order_flow):
    # Safe path: `python -c` would else find this checkout, where it stands, before the copy.
    ours = {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
    environment = os.environ | settings.environment() | ours
    create_topics(settings)
    announce = [sys.executable, "-c", "from streams.cli import main; main()", "features", "announce"]
    subprocess.run(announce, env=environment, check=True, timeout=60)
    replay(market(5, START_NS, 420, intensity=0.3), raw_producer(settings), settings.rules)  # 5m windows fill
    with pipeline(settings, ROWS_ONLY, environment=ours) as live:
        live.wait_until_done(seconds=120)
    rows = first_rows(settings)
    messages = [decode_rows(value) for value in rows.values()]
    column = np.concatenate([each.values[:, each.features.index("order_flow_imbalance_5m")] for each in messages])
    known = column[np.isfinite(column)]
    assert len(known) > 100
    assert np.abs(known).max() <= 1
    catalogue = Catalogue.discover(settings.rules, folders=[order_flow])
    assert rows_hash(backfill_topics(settings, catalogue)) == rows_hash(rows)


def test_a_new_file_of_features_is_checked_without_a_test_of_its_own(checkout):
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    tests = "tests/unit/featurestore/test_features.py"
    command = [sys.executable, "-m", "pytest", "-v", tests, "-k", "order_flow_imbalance_5m or signed_volume"]
    options = {"cwd": checkout, "env": environment, "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(command, check=False, **options)
    assert done.returncode == 0, done.stdout[-2000:]
    for name in ("order_flow_imbalance_5m", "signed_volume"):
        assert f"test_every_tile_and_feature_keeps_the_automatic_checks[ticks-{name}] PASSED" in done.stdout
