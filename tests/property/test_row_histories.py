"""Rows are what the rules say of the raw log, whatever happened to ingest and featurize on the way."""

import numpy as np
import pytest
from histories import CALM, STORM, Featurizer, ingest
from oracle import Oracle
from small_catalogue import book_catalogue, small_catalogue
from world import RULES, decode, random_log

from schemas.forecasts import Announcement
from schemas.rows import AGED, decode_rows, quality_names

CATALOGUE = small_catalogue()
FIRST = Announcement(
    border_ns=0,
    feature_set_id=CATALOGUE.feature_set_id,
    features={feature.name: feature.version for feature in CATALOGUE.features},
)


@pytest.fixture(autouse=True)
def test_format(monkeypatch):
    monkeypatch.setattr("streams.ingest.normaliser.formats", lambda: {"test": decode})


def featurized(canonical, seed, chaos):
    return Featurizer(canonical, RULES, CATALOGUE, [FIRST], seed, chaos).run()


def as_values(distinct):
    found = {}
    for key, value in distinct.items():
        rows = decode_rows(value)
        found[key] = {}
        for i, instrument in enumerate(rows.instruments):
            values = dict(zip(rows.features, rows.values[i], strict=True))
            values |= {f"age_{record}": age for record, age in zip(AGED, rows.ages[i], strict=True)}
            values |= {bit: float(bit in quality_names(int(rows.quality[i]))) for bit in ("stale", "book-gap")}
            found[key][instrument] = values
    return found


def differences(found, expected):
    """Return the first few (row, instrument, column, found, expected) that differ in a bit."""
    out = []
    for key in sorted(found.keys() | expected.keys()):
        if key not in found or key not in expected:
            out.append((key, "row", "found" if key in found else "missing"))
            continue
        for instrument in sorted(found[key].keys() | expected[key].keys()):
            mine, theirs = found[key].get(instrument), expected[key].get(instrument)
            if mine is None or theirs is None:
                out.append((key, instrument, "found" if mine else "missing"))
                continue
            out += [
                (key, instrument, name, mine.get(name), theirs[name])
                for name in theirs
                if np.float64(mine.get(name, np.inf)).tobytes() != np.float64(theirs[name]).tobytes()
                and not (np.isnan(mine.get(name, np.inf)) and np.isnan(theirs[name]))
            ]
    return out[:10]


@pytest.mark.parametrize("seed", range(16))
def test_rows_equal_the_offline_definition(seed):
    log = random_log(seed)
    canonical = ingest(log, RULES, seed, CALM)
    out = featurized(canonical, seed, CALM)
    assert differences(as_values(out.distinct()), Oracle(log, RULES, CATALOGUE).rows()) == []


@pytest.mark.parametrize("seed", range(16))
def test_histories_change_no_byte(seed):
    log = random_log(seed)
    calm = featurized(ingest(log, RULES, seed, CALM), seed, CALM).distinct()
    for other in (1, 2):
        history = 1000 * other + seed
        out = featurized(ingest(log, RULES, history, STORM), history, STORM)
        assert out.repeats_agree()
        assert out.distinct() == calm


@pytest.mark.parametrize("seed", range(6))
def test_rows_of_books_equal_the_offline_definition(seed):
    catalogue = book_catalogue()
    log = random_log(seed, seconds=1.0, books=True)
    calm = Featurizer(ingest(log, RULES, seed, CALM), RULES, catalogue, (), seed, CALM).run().distinct()
    expected = Oracle(log, RULES, catalogue).rows()
    assert differences(as_values(calm), expected) == []
    out = Featurizer(ingest(log, RULES, 1000 + seed, STORM), RULES, catalogue, (), 1000 + seed, STORM).run()
    assert out.repeats_agree()
    assert out.distinct() == calm


@pytest.mark.parametrize("seed", range(5))
def test_a_long_gap_costs_nothing(seed):
    log = random_log(seed, bursts=2, gap_seconds=400 * 86_400)
    out = featurized(ingest(log, RULES, seed, CALM), seed, CALM)
    assert differences(as_values(out.distinct()), Oracle(log, RULES, CATALOGUE).rows()) == []
