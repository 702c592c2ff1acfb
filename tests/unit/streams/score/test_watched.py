"""Where score finds what tells regimes apart."""

import json

import pytest
from msgspec.structs import replace

from schemas.errors import StateError
from streams.score.watched import watched_by
from tests.unit.streams.score.test_scorer import WATCHED
from triton_models.bundle import SPEC_FILE, read, write
from triton_models.export import REPOSITORY, versions


@pytest.fixture
def repository(tmp_path):
    """A repository whose second version is the first that knows regimes; the third knows others."""
    bundle = read(versions(REPOSITORY / "performer-ticks")[0])
    for version, regimes in (("1", None), ("2", WATCHED), ("3", replace(WATCHED, step_ns=2 * WATCHED.step_ns))):
        spec = replace(bundle.spec, version=version, regimes=regimes)
        write(tmp_path / "performer-ticks" / version, spec, bundle.weights)
    return tmp_path


def test_the_first_published_bundle_that_knows_regimes_says_what_is_watched(repository):
    assert watched_by(repository, "ticks") == WATCHED
    assert watched_by(repository, "bars") is None


def test_a_damaged_bundle_is_an_error_that_says_what_to_do(repository):
    path = repository / "performer-ticks" / "1" / SPEC_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "4"}))
    with pytest.raises(StateError, match=r"\$.hash: .*; restore the bundle or train it anew"):
        watched_by(repository, "ticks")
