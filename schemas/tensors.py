"""Tensors between `infer` and Triton, and the axes that name their shapes.

B instruments in the batch, T row intervals, F features, M modalities, H horizons, Q quantiles,
A attention heads.
"""

import msgspec

from schemas.rules import DAY_NS, HOUR_NS, MINUTE_NS

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
HORIZON_NS = {"1m": MINUTE_NS, "5m": 5 * MINUTE_NS, "1h": HOUR_NS, "1d": DAY_NS}
HORIZONS = {"ticks": ("1m", "5m", "1h", "1d"), "bars": ("5m", "1h", "1d")}
YEAR_NS = 365 * DAY_NS
"""Volatility is annualised on 365 days: these markets do not close."""


class Tensor(msgspec.Struct, frozen=True):
    """One tensor of a model: its name, Triton data type and axes behind the batch axis."""

    name: str
    dtype: str
    axes: tuple[str, ...]
    meaning: str


INPUTS = (
    Tensor("features", "TYPE_FP32", ("T", "F"), "feature values, 0 where masked"),
    Tensor("mask", "TYPE_FP32", ("T", "F"), "1 where the value is known, else 0"),
    Tensor("age", "TYPE_FP32", ("T", "M"), "seconds since the modality's last event, -1: never"),
    Tensor("origin_time_ns", "TYPE_INT64", ("1",), "the forecast's origin"),
)
OUTPUTS = (
    Tensor("mean", "TYPE_FP32", ("H",), "expected realised variance"),
    Tensor("quantiles", "TYPE_FP32", ("H", "Q"), "quantiles of realised variance"),
)
ATTENTION_OUTPUT = Tensor("attention", "TYPE_FP32", ("A", "T", "M"), "weights of the last step over all tokens, sum 1")

MINIMUM_BATCH = 16
"""Below this, other kernels run and the last bits differ: smaller batches are padded."""
