"""A log of rows and forecasts as infer writes them, by the networks of the repository."""

import hashlib

import numpy as np
import pytest

from schemas.calibration import Calibration
from schemas.rows import AGED, RowHeader, Rows, encode_rows
from schemas.rules import SECOND_NS
from schemas.topics import FEATURE_ROW, FORECAST
from streams.infer.forecaster import Forecaster
from streams.infer.models import read_models
from streams.rebuild.library import Library
from tests.unit.streams.played_log import PlayedLog
from triton_models.export import REPOSITORY

PROFILES = {"ticks": SECOND_NS, "bars": 300 * SECOND_NS}
START_NS = 1_767_225_600 * SECOND_NS
NAMES = tuple(f"binance:BTC-{quote}" for quote in ("EUR", "USDC", "USDT"))
PARTITION = 2


class Remembering(Library):
    """Asks the networks once of the same arrays: most of what tests change in a record changes none."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._known = {}

    def answers(self, models, arrays):
        key = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).digest()
        if key not in self._known:
            self._known[key] = super().answers(models, arrays)
        return self._known[key]


class Made:
    """What a forecaster of one profile wrote: batches of several sizes, an outage, a row that is not known."""

    def __init__(self, profile, models=None, repository=REPOSITORY):
        self.profile, self.interval_ns = profile, PROFILES[profile]
        self.models = models or read_models(profile)
        self.library = Remembering(profile, repository, self.interval_ns)
        self.rows, self.forecasts = [], []
        self._random = np.random.default_rng(3)
        self._forecaster = Forecaster(self.models)
        for _ in range(8):
            self._take(1)
        self._learn()
        self._take(12)
        self._take(2, reason="no answer within the deadline")
        self._take(1, unknown=NAMES[1])
        self.log = PlayedLog(PARTITION, **{FEATURE_ROW: self.rows, FORECAST: self.forecasts})

    def _take(self, count, reason="", unknown=""):
        for _ in range(count):
            self.rows.append(encode_rows(self._row(unknown)))
            self._forecaster.take_row(len(self.rows) - 1, self.rows[-1])
        batch = self._forecaster.next_batch()
        answers = {} if reason else self.library.answers(self.models, batch.arrays)
        self.forecasts += [
            record.value for record in self._forecaster.settle(batch, answers, reason) if record.topic == FORECAST
        ]

    def _row(self, unknown):
        names = self.models.shape.features
        scale = np.array([1e-7 if "variance" in name else 0.1 for name in names])
        values = scale * np.exp(self._random.normal(0, 0.3, (len(NAMES), len(names))))
        if unknown:
            values[NAMES.index(unknown)] = np.nan
        header = RowHeader(START_NS + len(self.rows) * self.interval_ns, PARTITION, "r" * 12, "f" * 12)
        ages = self._random.uniform(0, 9, (len(NAMES), len(AGED)))
        return Rows(header, NAMES, names, values, ages, np.array([0, 4, 0], np.uint32))

    def _learn(self):
        """Give each horizon shifts, a regime and trust, so that all of a record says something."""
        experts = ("har", *(("ewma",) if self.models.ewma else ()), "lstm", "performer")
        shifts = tuple(np.linspace(-0.2, 0.3, 7).tolist())
        for name in NAMES:
            for horizon in self.models.horizons:
                trust = {expert: (0.3 * place, -0.2 * place) for place, expert in enumerate(experts)}
                regimes = [shifts, shifts[::-1], (0.0,) * 7]
                self._forecaster.take_calibration(
                    Calibration(
                        instrument_id=name,
                        horizon=horizon,
                        as_of_ns=START_NS,
                        shift=(0.0, 0.0),
                        coverage_ratio=0.9,
                        count=9,
                        trust=trust,
                        shared_shifts=shifts,
                        regime_shifts=regimes,
                        regime=1,
                    )
                )


@pytest.fixture(scope="session", params=PROFILES)
def made(request):
    """Rows and forecasts of one profile."""
    return Made(request.param)
