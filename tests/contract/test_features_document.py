"""The page of features names every column there is, by the numbers of the catalogue's table."""

import re
from pathlib import Path

import pytest

from featurestore.catalogue import Catalogue
from featurestore.table import NUMBERED, lines
from schemas import PROFILES
from streams.documents import features_table

PAGE = (Path(__file__).parents[2] / "deploy" / "docs" / "features.md").read_text()
LINES = list(lines())


def test_the_committed_page_is_the_generated_one():
    assert PAGE.endswith(features_table()), "run python -m streams.documents"


def test_every_number_from_1_to_62_has_a_quantity():
    assert [line.number for line in LINES if line.number] == [
        str(place + 1) for place, (_, names) in enumerate(NUMBERED) for _ in names
    ]
    assert len(NUMBERED) == 62
    assert all(names for _, names in NUMBERED)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_column_is_on_the_page_and_every_window_of_it_is_a_column(profile):
    columns = {
        line.spec.quantity if window == "row" else f"{line.spec.quantity}_{window}"
        for line in LINES
        for window in line.windows.get(profile, ())
    }
    assert columns == Catalogue.discover(PROFILES[profile]).versions.keys()


def test_at_least_62_quantities_of_ticks_each_stand_on_the_page_once():
    quantities = [line.spec.quantity for line in LINES if "ticks" in line.windows]
    assert len(quantities) == len(set(quantities)) >= 62
    for line in LINES:
        assert PAGE.count(f"| `{line.spec.quantity}` |") == 1


def test_numbered_quantities_say_who_described_them():
    # What only counts or repeats what a venue says has no author.
    unsourced = {line.spec.quantity for line in LINES if line.number and line.source == "-"}
    assert unsourced == {
        *("minutes_to_funding", "open_interest_move", "long_liquidations", "short_liquidations", "liquidations"),
        *("seasonal_volume_surprise", "trade_size_dispersion", "asset_transfers", "minutes_since_post"),
    }
    for line in LINES:
        assert line.source == "-" or re.search(r"(19|20)\d\d$", line.source)
