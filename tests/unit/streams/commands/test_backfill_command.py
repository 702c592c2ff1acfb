"""`foreshock backfill`: which options go together, and what a wrong file is told."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from schemas.errors import ForeshockError
from streams.cli import app


def refused(*arguments):
    with pytest.raises(ForeshockError) as caught:
        CliRunner().invoke(app, ["backfill", *map(str, arguments)], catch_exceptions=False)
    return str(caught.value)


@pytest.mark.parametrize("option", ["--plot", "--report"])
def test_what_tells_of_late_events_is_asked_for_with_them(tmp_path, option):
    assert refused(tmp_path, option, tmp_path / "file") == f"{option}: tells of late events; add --with-late"


def test_tiles_are_not_written_from_tiles(tmp_path):
    told = refused("--tiles-from", tmp_path, "--tiles", tmp_path / "other.parquet")
    assert told == "--tiles: the tiles of --tiles-from are there already; give --rows alone"


def test_a_file_without_tiles_is_told_in_words(tmp_path):
    rows, text = tmp_path / "rows.parquet", tmp_path / "text.parquet"
    pq.write_table(pa.table({"a": [1]}), rows)
    text.write_text("no Parquet")
    told = refused("--tiles-from", rows, "--rows", tmp_path / "out.parquet")
    assert told == (
        f"{rows}: no file of tiles that a backfill wrote (Parquet of something else, such as rows); "
        "`foreshock backfill PATH... --tiles FILE` writes one"
    )
    assert "Parquet magic bytes not found" in refused("--tiles-from", text)
