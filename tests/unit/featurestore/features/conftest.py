"""The catalogue's functions as the engine calls them, on what a test writes down."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
from canonical import Canon, by_time

from featurestore.catalogue import Catalogue
from schemas import TICKS, Rules

CATALOGUE = Catalogue.discover(TICKS)


def quietly(function, *inputs):
    """Return what the engine gets: it works where warnings are off."""
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        return function(*inputs)


class Quantities:
    """Tiles, derived tiles and features of ticks by name."""

    def tiles(self, name, starts, **columns):
        """Return the values of tiles whose events begin at `starts`, with the end behind the last."""
        spec = CATALOGUE.series[name]
        held = {each: np.asarray(values) for each, values in columns.items()}
        return quietly(spec.evaluate, held, np.asarray(starts, np.int64))

    def tile(self, name, **columns):
        """Return the value of one tile with these events."""
        return self.tiles(name, [0, len(next(iter(columns.values())))], **columns)[0]

    def field(self, name, *lists):
        """Return a field of one book, its lists padded as the engine pads them."""
        spec = next(each for each in CATALOGUE.fields if each.name == name)
        padded = [np.array([[*each, *[np.nan] * (10 - len(each))]]) for each in lists]
        return quietly(spec.function, *padded)[0]

    def series(self, name, *inputs):
        """Return a derived tile at each tile of its inputs; NaN while its window is not filled."""
        spec = CATALOGUE.series[name]
        arrays = [np.asarray(each, float) for each in inputs]
        found = np.full(len(arrays[0]), np.nan)
        for last in range(spec.window_tiles - 1, len(found)):
            window = slice(last - spec.window_tiles + 1, last + 1)
            found[last] = quietly(spec.function, *(each[window] for each in arrays))
        return found

    def feature(self, name, *inputs):
        """Return a feature of one window."""
        spec = CATALOGUE.feature(name)
        return float(quietly(spec.function, *(np.asarray(each, float) for each in inputs)))

    def inputs(self, name):
        return CATALOGUE.feature(name).inputs


@pytest.fixture(scope="session")
def quantities():
    return Quantities()


@pytest.fixture(scope="session")
def run():
    """Return rows of the real engine: by ms, instrument and feature, for messages of events in order."""

    def rows(features, messages, until_ms):
        rules = Rules(partitions=1)
        canon = Canon(rules=rules, catalogue=CATALOGUE.subset(features))
        canon.progress(-2500)
        for place, events in enumerate(messages):
            canon.send(*events, raw=place % 4 if events[0][1].topic == "exchange.event.v1" else 0, at=10_000 * place)
        canon.progress(until_ms)
        return by_time(canon.advance())

    return rows


@pytest.fixture(scope="session")
def minutes():
    """Return sums of whole minutes of seconds."""
    return lambda values: np.asarray(values).reshape(-1, 60).sum(-1)


@pytest.fixture(scope="session")
def offsets():
    """Return where the events of each second begin, for times in seconds and a number of seconds."""

    def of(times, count):
        starts = np.searchsorted(times, np.arange(count + 1))
        assert all(first <= last for first, last in pairwise(starts))
        return starts

    return of
