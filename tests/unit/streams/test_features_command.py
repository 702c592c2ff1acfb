"""`foreshock features`: what a quant runs on a new file."""

import json
import textwrap

import pytest
from typer.testing import CliRunner

from featurestore.catalogue import Catalogue
from schemas.errors import FeatureError
from streams.cli import app
from streams.commands import features

HEAD = "import numpy as np\nfrom featurestore import feature, tile\nfrom schemas import Trade\n\n"
REFUSED = {
    "looks ahead": (
        """
        @feature(window="10s")
        def mine(volume):
            '''Volume of the next row, in base units.'''
            return np.roll(volume.sum(-1), -1, axis=-1)
        """,
        "mine.py mine_10s: other bits without the rows after it",
    ),
    "mutates": (
        """
        @feature(window="10s")
        def mine(volume):
            '''Volume, in base units.'''
            volume *= 2
            return volume.sum(-1)
        """,
        "mine.py mine_10s: changes its input 'volume'",
    ),
    "matrix product": (
        """
        @feature(window="5m")
        def mine(volume):
            '''Volume with falling weights, in base units.'''
            return np.nan_to_num(volume) @ np.exp(-np.arange(300) / 60)
        """,
        "mine.py mine_5m: other bits for",
    ),
    "over budget": (
        """
        @feature(window="5m")
        def mine(volume):
            '''Volume, in base units.'''
            total = volume.sum(-1)
            for _ in range(20_000):
                total = total + 0.0 * volume.sum(-1)
            return total
        """,
        "expected at most 0.02 s",
    ),
}


def run(*arguments):
    return CliRunner().invoke(app, ["features", *arguments])


@pytest.fixture
def quant(tmp_path, monkeypatch):
    """A folder beside the catalogue's own; returns how to write a file into it."""
    discover = Catalogue.discover.__func__

    def with_folder(cls, *rules, folders=()):
        return discover(cls, *rules, folders=[*folders, tmp_path])

    monkeypatch.setattr(features.Catalogue, "discover", classmethod(with_folder))
    return lambda text: (tmp_path / "mine.py").write_text(HEAD + textwrap.dedent(text))


def test_named_features_are_checked_and_tried_on_data():
    done = run("check", "volume", "traded_volume_1m", "--seconds", "90")
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("2 checked, 0 problems\n")
    row = next(line for line in done.stdout.splitlines() if "traded_volume_1m" in line)
    assert [cell.strip() for cell in row.split("│")[3:5]] == ["0", "0"]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_breaks_a_promise_is_refused_with_its_reason_in_a_line(quant, kind):
    text, problem = REFUSED[kind]
    quant(text)
    done = run("check", "mine.py")
    assert done.exit_code == 1
    assert problem in done.stderr
    assert all(line.startswith("mine.py mine") for line in done.stderr.splitlines())


def test_a_problem_is_a_line_and_an_exit_code(monkeypatch):
    monkeypatch.setattr(features, "violations", lambda *_: ["mine.py twice: infinite on a window with empty tiles"])
    done = run("check", "volume")
    assert done.exit_code == 1
    assert done.stderr == "mine.py twice: infinite on a window with empty tiles\n"


def test_a_name_that_is_not_there_says_where_the_names_are():
    with pytest.raises(FeatureError, match="there is no tile or feature 'volum'; there is volume or buy_volume"):
        CliRunner().invoke(app, ["features", "check", "volum"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("realised_varianc", "there is realised_variance or realised_variance_"),
        ("volatility", "there is market_volatility or "),
        ("nosuch", "there is no feature 'nosuch'; `foreshock features list` prints the features"),
    ],
)
def test_a_feature_that_is_not_there_is_told_those_like_it(name, said):
    with pytest.raises(FeatureError, match=said):
        CliRunner().invoke(app, ["features", "show", name], catch_exceptions=False)


def test_the_list_is_not_cut_where_it_is_piped():
    catalogue = Catalogue.discover()
    listed = run("list").stdout
    for spec in catalogue.features:
        assert spec.quantity in listed
        assert spec.docs.splitlines()[0] in listed
    lines = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    assert [line["feature"] for line in lines] == [spec.name for spec in catalogue.features]


def test_a_feature_is_shown_with_its_lineage_and_its_code():
    shown = run("show", "quote_imbalance_flow").stdout
    for part in ("quote_imbalance_flow_1m", "Cont, Kukanov and Stoikov 2014", "bid_flow_inside", "quote(bid_price"):
        assert part in shown
    assert "def quote_imbalance_flow(bid_flow_total" in shown


def test_a_modality_without_features_says_which_there_are():
    with pytest.raises(FeatureError, match=r"--modality 'trades': expected one of .*trade"):
        CliRunner().invoke(app, ["features", "list", "--modality", "trades"], catch_exceptions=False)


def test_a_new_file_is_written_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "new_file", lambda name, record, window: tmp_path / f"{name}-{record}-{window}")
    done = run("new", "mine", "--record", "quote", "--window", "1m")
    assert done.stdout.splitlines()[1] == "edit it, then: foreshock features check mine"
    assert done.stdout.startswith(str(tmp_path / "mine-quote-1m"))
