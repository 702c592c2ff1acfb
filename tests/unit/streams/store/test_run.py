import pytest

from streams import run
from streams.settings import Settings


@pytest.mark.parametrize(("asked", "stores"), [("on", ["store-0"]), ("off", [])])
def test_run_starts_one_writer_of_the_store_if_asked(tmp_path, asked, stores):
    started = run.pieces_of(Settings(state_dir=tmp_path, store=asked, workers=2))
    assert [piece.name for piece in started if piece.name.startswith("store")] == stores
    assert len(started) == 8 + len(stores)
    ports = [piece.environment["FORESHOCK_METRICS_PORT"] for piece in started]
    assert len(set(ports)) == len(ports)
    assert {piece.command[-2:] for piece in started if piece.name == "store-0"} <= {("store", "run")}


def test_the_store_lies_in_the_state_unless_told_otherwise(tmp_path):
    assert Settings(state_dir=tmp_path).store_url == str(tmp_path / "store")
    assert Settings(store_url="s3://bucket/lake").store_url == "s3://bucket/lake"
