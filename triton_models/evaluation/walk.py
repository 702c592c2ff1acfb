"""The walk: every expert over every fold and horizon, on one grid of origins and instruments."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.tensors import QUANTILES
from triton_models.evaluation.definitions import ORIGIN_STEP_NS
from triton_models.evaluation.folds import Folds
from triton_models.evaluation.panel import Expert, Forecasts, Indices, Panel
from triton_models.har import Floats, Times

Progress = Callable[[str, float], None]
"""Called with what is being done and how much of it is done, in [0, 1]."""

EQUAL_WEIGHT = "mean"
"""The equal-weight mean of ..."""
MEAN_OF = ("har-seas", "har-ref", "lightgbm", "ewma")
_SCHEMA = pa.schema(
    [
        ("instrument", pa.dictionary(pa.int32(), pa.string())),
        ("origin_time_ns", pa.int64()),
        ("horizon", pa.dictionary(pa.int32(), pa.string())),
        ("model", pa.dictionary(pa.int32(), pa.string())),
        ("mean", pa.float32()),
        *((f"q{round(100 * level):02d}", pa.float32()) for level in QUANTILES),
        ("realised", pa.float32()),
    ]
)


class Grid(NamedTuple):
    """The origins (T) of a horizon by the instruments (I) of a panel."""

    origin_time_ns: Times
    """(T,)"""
    row: Indices
    """(T, I): the panel's row, -1 where it has none."""

    def of(self, values: Floats) -> Floats:
        """Return values (N, ...) of the panel's rows on the grid (T, I, ...), NaN where there is no row.

        Rounded to single precision, in which they are kept: scores can be recomputed to the last digit.
        """
        found = values.astype(np.float32)[np.maximum(self.row, 0)]
        found[self.row < 0] = np.nan
        return np.asarray(found, np.float64)


class Walked(NamedTuple):
    """What was forecast at a horizon, and what came."""

    horizon: str
    grid: Grid
    realised: Floats
    """(T, I), NaN where not known."""
    forecasts: dict[str, Forecasts]
    """By model, mean (T, I) and quantiles (T, I, Q)."""

    def since(self, from_ns: int) -> "Walked":
        """Return the part from a time on."""
        rows = self.grid.origin_time_ns >= from_ns
        grid = Grid(self.grid.origin_time_ns[rows], self.grid.row[rows])
        forecasts = {name: Forecasts(made.mean[rows], made.quantiles[rows]) for name, made in self.forecasts.items()}
        return Walked(self.horizon, grid, self.realised[rows], forecasts)


def grid_of(panel: Panel, folds: Folds, horizon: str) -> Grid:
    """Return the grid of the origins that folds forecast."""
    step = ORIGIN_STEP_NS[horizon]
    first = -(-folds.from_ns // step) * step
    times = np.arange(first, folds.until_ns, step, dtype=np.int64)
    row = np.full((len(times), len(panel.instruments)), -1, np.int64)
    (rows,) = np.nonzero(panel.origins(horizon) & (panel.row_time_ns >= first) & (panel.row_time_ns < folds.until_ns))
    row[(panel.row_time_ns[rows] - first) // step, panel.instrument[rows]] = rows
    return Grid(times, row)


def walk(
    panel: Panel,
    folds: Folds,
    experts: Sequence[Expert],
    horizons: Sequence[str],
    progress: Progress = lambda _text, _ratio: None,
) -> Iterator[Walked]:
    """Yield each horizon with the forecasts of all experts and their equal-weight mean."""
    steps = len(horizons) * len(experts)
    for place, horizon in enumerate(horizons):
        grid = grid_of(panel, folds, horizon)
        found = {}
        for index, expert in enumerate(experts):
            progress(f"{horizon}: {expert.name}", (place * len(experts) + index) / steps)
            made = expert.forecasts(panel, folds, horizon)
            found[expert.name] = Forecasts(grid.of(made.mean), grid.of(made.quantiles))
        members = [found[name] for name in MEAN_OF if name in found]
        if members:
            found[EQUAL_WEIGHT] = equal_weight(members)
        yield Walked(horizon, grid, grid.of(panel.target[horizon]), found)


def equal_weight(members: Sequence[Forecasts]) -> Forecasts:
    """Return the harmonic mean of means, and the geometric one of quantiles; NaN where a member is.

    Members whose RV/f has the mean 1 keep it so: an arithmetic mean of them would be too high.
    """
    mean = 1 / np.mean([1 / one.mean for one in members], axis=0)
    return Forecasts(mean, np.exp(np.mean([np.log(one.quantiles) for one in members], axis=0)))


class ForecastsFile:
    """The Parquet file of all forecasts: one row for each instrument, origin, horizon and model."""

    def __init__(self, path: Path, instruments: Sequence[str]) -> None:
        names = ["instrument", "horizon", "model"]
        numbers = [name for name in _SCHEMA.names if name not in names]
        self._writer = pq.ParquetWriter(
            path, _SCHEMA, compression="zstd", use_dictionary=names, use_byte_stream_split=numbers
        )
        self._instruments = pa.array(instruments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, walked: Walked) -> int:
        """Append what was forecast at a horizon; return the number of rows."""
        return sum(self._write(walked, model, made) for model, made in walked.forecasts.items())

    def _write(self, walked: Walked, model: str, made: Forecasts) -> int:
        time, instrument = np.nonzero(np.isfinite(made.mean))
        realised = walked.realised[time, instrument]
        constant = pa.array(np.zeros(len(time), np.int32))
        columns = [
            pa.DictionaryArray.from_arrays(pa.array(instrument.astype(np.int32)), self._instruments),
            pa.array(walked.grid.origin_time_ns[time]),
            pa.DictionaryArray.from_arrays(constant, pa.array([walked.horizon])),
            pa.DictionaryArray.from_arrays(constant, pa.array([model])),
            _singles(made.mean[time, instrument]),
            *(_singles(made.quantiles[time, instrument, index]) for index in range(len(QUANTILES))),
            _singles(realised),
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA))
        return len(time)


def _singles(values: Floats) -> pa.Array:
    return pa.array(values.astype(np.float32), mask=~np.isfinite(values))


def read_forecasts(path: Path) -> Mapping[str, pa.Table]:
    """Return the rows of a file of forecasts, by model."""
    table = pq.read_table(path)
    models = table.column("model").cast(pa.string())
    return {name: table.filter(pa.compute.equal(models, name)) for name in models.unique().to_pylist()}
