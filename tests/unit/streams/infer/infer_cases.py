"""Rows, models and answers for the tests of infer: small, made by hand."""

import numpy as np

from schemas.rows import AGED, RowHeader, Rows, encode_rows
from schemas.rules import SECOND_NS
from schemas.tensors import QUANTILES
from streams.infer.forecaster import Batch, Forecaster
from streams.infer.models import Models, Network, Shape, persistence

T0 = 1_700_000_040 * SECOND_NS
"""A whole minute, and an even one."""
INTERVALS = 4
BASE = persistence("ticks", SECOND_NS)
FEATURES = (*BASE.har.windows, "spread")
SHAPE = Shape(FEATURES, ("trade", "clock"), INTERVALS, SECOND_NS)
H, Q = len(BASE.horizons), len(QUANTILES)


def network(expert, *, attention=False):
    outputs = {"mean": (H,), "quantiles": (H, Q)}
    if attention:
        outputs["attention"] = (2, INTERVALS, 2)
    half_lives = (1.0, 4.0) if attention else ()
    return Network(expert, f"{expert}-ticks", "1", expert * 12, outputs, {}, half_lives)


MODELS = Models(SHAPE, BASE.horizons, BASE.har, "h" * 64, (network("lstm"), network("performer", attention=True)))


def row_message(second, instruments=("binance:BTC-USDT",), *, variance=1e-6, masked=(), partition=0):
    """Return a row message `second` seconds after T0; `masked`: names of masked features."""
    values = np.tile([variance * (index + 1) for index in range(len(FEATURES))], (len(instruments), 1))
    for name in masked:
        values[:, FEATURES.index(name)] = np.nan
    header = RowHeader(T0 + second * SECOND_NS, partition, "r" * 12, "f" * 12)
    ages = np.full((len(instruments), len(AGED)), 0.5)
    quality = np.zeros(len(instruments), np.uint32)
    return encode_rows(Rows(header, tuple(instruments), FEATURES, values, ages, quality))


def answer(batch: Batch, scale=1.1):
    """Return what two healthy networks could say: log-HAR's levels, scaled."""
    asked = batch.rows >= 0
    places = np.concatenate([np.flatnonzero(asked), np.repeat(np.flatnonzero(asked)[:1], batch.padded - batch.asked)])
    mean = (batch.base.mean[places] * scale).astype(np.float32)
    quantiles = (batch.base.quantiles[places] * scale).astype(np.float32)
    attention = np.full((len(places), 2, INTERVALS, 2), 1 / (2 * INTERVALS), np.float32)
    return {
        "lstm": {"mean": mean, "quantiles": quantiles},
        "performer": {"mean": mean, "quantiles": quantiles, "attention": attention},
    }


def forecaster(models=MODELS):
    return Forecaster(models)
