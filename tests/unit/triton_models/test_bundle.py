import json

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from schemas.errors import DecodeError
from triton_models.bundle import SPEC_FILE, WEIGHTS_FILE, read, write
from triton_models.online.regimes import Watched

CHAIN = {"means": [0.0, 1.0], "deviations": [1.0, 1.0], "transitions": [[0.9, 0.1], [0.2, 0.8]]}
REGIMES = {"short": "bar_realised_variance_5m", "long": "bar_realised_variance_1h", "step_ns": 60, "regimes": CHAIN}


AVERAGE = {
    "features": ["volume"],
    "unit_ns": 1,
    "horizons": ["5m", "1h", "1d"],
    "chosen": [0, 0, 0],
    "smearing": [[0.0, 0.0, 0.0]],
    "residuals": [[[0.0] * 7] * 3],
}


@pytest.fixture
def bundle(spec, random_weights, tmp_path):
    return write(tmp_path, spec, random_weights(spec))


def test_a_bundle_is_read_as_it_was_written(bundle, random_weights, tmp_path):
    again = read(tmp_path)
    assert (again.spec, again.hash) == (bundle.spec, bundle.hash)
    for name, value in random_weights(bundle.spec).items():
        assert np.array_equal(again.weights[name], value)


def test_the_same_model_has_the_same_bytes(bundle, random_weights, tmp_path):
    write(tmp_path / "again", bundle.spec, random_weights(bundle.spec))
    for name in (SPEC_FILE, WEIGHTS_FILE):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_what_tells_regimes_is_part_of_the_bundle(bundle, random_weights, tmp_path):
    watched = msgspec.convert(REGIMES, Watched)
    other = write(tmp_path / "other", replace(bundle.spec, regimes=watched), random_weights(bundle.spec))
    assert read(tmp_path / "other").spec.regimes == watched
    assert other.hash != bundle.hash


def test_a_bundle_from_before_there_were_regimes_is_read(bundle, tmp_path):
    path = tmp_path / SPEC_FILE
    document = json.loads(path.read_text())
    del document["regimes"]
    path.write_text(json.dumps(document))
    assert (read(tmp_path).spec, read(tmp_path).hash) == (bundle.spec, bundle.hash)


def test_changed_weights_are_noticed(bundle, tmp_path):
    path = tmp_path / WEIGHTS_FILE
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DecodeError, match=rf"\$\.hash: expected [0-9a-f]{{64}}, .* got '{bundle.hash}'"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ["a"]}, r"\$\.features|\$\.modality_of|\$\.scaling"),
        ({"kind": "pickle"}, r"\$\.kind"),
        ({"profile": "years"}, r"\$\.profile"),
        ({"intervals": 10**9}, r"\$\.intervals"),
        ({"intervals": "many"}, r"Expected `int`, got `str` - at `\$\.intervals`"),
        ({"modality_of": [0, 0, 0, 0, 9]}, r"\$\.modality_of"),
        ({"row_interval_ns": 0}, r"\$\.row_interval_ns"),
        ({"ewma": {**AVERAGE, "features": ["gone_5m"]}}, r"\$\.ewma"),
        ({"ewma": {**AVERAGE, "chosen": [0, 1, 0]}}, r"\$\.ewma"),
        ({"ewma": {**AVERAGE, "smearing": [[0.0, 0.0]]}}, r"\$\.ewma"),
        ({"version": "2"}, r"\$\.hash"),
        ({"regimes": REGIMES | {"short": "nobody_5m"}}, r"\$\.regimes"),
        ({"regimes": REGIMES | {"step_ns": 0}}, r"\$\.regimes"),
        ({"regimes": REGIMES | {"regimes": CHAIN | {"means": [0.0]}}}, r"\$\.regimes"),
        ({"regimes": REGIMES | {"regimes": CHAIN | {"deviations": [1.0, 0.0]}}}, r"\$\.regimes"),
        ({"hash": 5}, r"at `\$\.hash`"),
    ],
)
def test_a_spec_that_does_not_fit_is_an_error(bundle, tmp_path, change, message):
    path = tmp_path / SPEC_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DecodeError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"reads": {"variances": ["gone_5m"]}}, r"\$\.har\.reads"),
        ({"reads": {"variances": ["volume"]}}, r"\$\.har:"),  # whose window no name tells
        ({"reads": {"variances": []}}, r"\$\.har:"),
        ({"log_factor": [0.0]}, r"\$\.har:"),
        ({"coefficients": [[[1.0]]]}, r"\$\.har:"),
        ({"horizons": ["5m"]}, r"\$\.har:"),
    ],
)
def test_a_log_har_that_does_not_fit_is_an_error(bundle, tmp_path, part, message):
    path = tmp_path / SPEC_FILE
    document = json.loads(path.read_text())
    document["har"] |= part
    path.write_text(json.dumps(document))
    with pytest.raises(DecodeError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"{}", b"cos\nsystem\n(S'true'\ntR."])
@pytest.mark.parametrize("name", [SPEC_FILE, WEIGHTS_FILE])
def test_hostile_files_are_errors(bundle, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError):
        read(tmp_path)


def test_damaged_weights_with_a_fitting_hash_are_an_error(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("triton_models.bundle._hash", lambda spec, weights: bundle.hash)
    (tmp_path / WEIGHTS_FILE).write_bytes((10**6).to_bytes(8, "little") + b"{}")
    with pytest.raises(DecodeError, match="weights"):
        read(tmp_path)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(DecodeError, match=r"bundle.json .*`foreshock train` writes it"):
        read(tmp_path)
