"""Rows and models made of a seeded volatility process: what real ones look like, in a second."""

import numpy as np
import pytest
import torch

from schemas.rules import PROFILES
from schemas.tensors import HORIZONS, QUANTILES
from triton_models.bundle import Scaling, Size, Spec, write
from triton_models.dataset import RowTable
from triton_models.fitting import fit_har
from triton_models.networks import build
from triton_models.pinned import Pinned
from triton_models.predictor import Batch, Predictor
from triton_models.terms import REF

BARS = PROFILES["bars"].row_interval_ns
WINDOWS = {"bar_realised_variance_5m": 1, "bar_realised_variance_1h": 12, "bar_realised_variance_1d": 288}


def volatility(random, count):
    """Log volatility that forgets slowly, with a day's season."""
    noise = random.normal(0, 0.1, count)
    log = np.zeros(count)
    for i in range(1, count):
        log[i] = 0.99 * log[i - 1] + noise[i]
    return np.exp(log + 0.3 * np.sin(2 * np.pi * np.arange(count) / 288) - 7)


def rolling_sum(x, window):
    total = np.cumsum(np.concatenate([[0.0], x]))
    return np.concatenate([np.full(window - 1, np.nan), total[window:] - total[:-window]])


@pytest.fixture(scope="session")
def pinned():
    return Pinned.of([*WINDOWS, "volume", "hour"], ["bar", "bar", "bar", "bar", "clock"], "0123456789ab")


@pytest.fixture(scope="session")
def table(pinned):
    random = np.random.default_rng(7)
    count, parts = 3000, []
    for _ in range(2):
        sigma = volatility(random, count)
        # Four returns a bar, so that a bar's variance is not one squared number.
        squares = (random.normal(0, 0.5, (count, 4)) * sigma[:, None]) ** 2
        variance = squares.sum(-1)
        columns = [rolling_sum(variance, window) for window in WINDOWS.values()]
        volume = sigma * 1e5 * np.exp(random.normal(0, 0.3, count))
        parts.append(np.stack([*columns, volume, np.arange(count) % 288 / 12.0], axis=-1))
    times = (np.arange(count) + 5_700_000) * BARS
    return RowTable(
        ["binance:BTC-USDT"] * count + ["binance:ETH-USDT"] * count,
        np.concatenate([times, times]),
        np.concatenate(parts).astype(np.float32),
        np.zeros((2 * count, 2), np.float32),
        pinned,
        row_interval_ns=BARS,
    )


@pytest.fixture(scope="session")
def fitted(table):
    reads = REF.among(WINDOWS)
    targets = {horizon: table.ahead(horizon) for horizon in HORIZONS["bars"]}
    return fit_har(reads, table.columns(reads.features), table.row_time_ns, targets)


@pytest.fixture(scope="session", params=["performer", "lstm"])
def spec(request, pinned, fitted):
    return make_spec(request.param, pinned, fitted)


def make_spec(kind, pinned, fitted):
    return Spec(
        name=f"{kind}-bars",
        version="1",
        profile="bars",
        kind=kind,
        features=pinned.features,
        feature_set_id="0123456789ab",
        modalities=pinned.modalities,
        modality_of=pinned.modality_of,
        intervals=8,
        row_interval_ns=BARS,
        horizons=HORIZONS["bars"],
        quantiles=QUANTILES,
        scaling=tuple(Scaling(median=1e-6, scale=1.0, log=True, floor=1e-8) for _ in pinned.features),
        size=Size(),
        har=fitted,
    )


@pytest.fixture(scope="session", name="make_spec")
def make_any_spec():
    return make_spec


@pytest.fixture(scope="session")
def random_weights():
    """Weights of a network that has learnt something, whatever it is."""

    def make(spec, seed=3):
        generator = torch.Generator().manual_seed(seed)
        fixed = ("directions", "log_half_life")
        return {
            name: (value if name.endswith(fixed) else 0.3 * torch.randn(value.shape, generator=generator)).numpy()
            for name, value in build(spec).state_dict().items()
        }

    return make


@pytest.fixture(scope="session")
def make_batch(table):
    def make(rows, intervals=8):
        features, mask, age = (torch.from_numpy(part) for part in table.windows(rows, intervals))
        return Batch(features, mask, age, torch.from_numpy(table.row_time_ns[rows])[:, None])

    return make


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def predictor(spec, random_weights, tmp_path):
    return Predictor(write(tmp_path, spec, random_weights(spec)))
