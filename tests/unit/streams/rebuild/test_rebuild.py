"""Forecasts are computed again bit for bit; whatever a record says otherwise is named."""

import shutil
from collections import Counter

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from schemas.errors import StateError
from schemas.forecasts import Forecast, decode_json
from schemas.topics import FEATURE_ROW
from streams.infer.models import beside, read_models
from streams.rebuild.library import Library
from streams.rebuild.sampling import drawn
from streams.rebuild.verdicts import NEAR, compared
from streams.rebuild.work import read_forecasts, verdicts
from tests.unit.streams.rebuild.conftest import Made
from triton_models.bundle import read
from triton_models.export import REPOSITORY, publish


def all_of(made):
    return [decode_json(value, Forecast) for value in made.forecasts]


def verdict_on(made, forecast):
    (found,) = verdicts(made.log, made.library, [forecast])
    return found


def a_model_forecast(made):
    return next(one for one in all_of(made) if one.status == "model" and one.receipt.batch[0] > 16)


def test_every_forecast_is_identical_whatever_its_status_and_batch(made):
    forecasts = all_of(made)
    library = Library(made.profile, REPOSITORY, made.interval_ns)
    assert Counter(one.status for one in forecasts) == {"model": 62, "fallback": 6, "unavailable": 1}
    assert {one.receipt.batch[0] for one in forecasts} == {0, 16, 36}
    assert any(any(told.shifts) for one in forecasts for told in one.calibration.values())
    found = list(verdicts(made.log, library, forecasts))
    assert [(one.forecast_id, one.first) for one in found if one.kind != "identical"] == []
    assert {one.forecast_id for one in found} == {one.id for one in forecasts}


def changes(value, path="$"):
    """Yield (path, changed value) for each scalar of plain data, one digit or letter of it another."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from ((where, value | {key: other}) for where, other in changes(one, f"{path}.{key}"))
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            for where, other in changes(one, f"{path}[{place}]"):
                yield where, [*value[:place], other, *value[place + 1 :]]
    elif isinstance(value, float):
        yield path, value * (1 - 1e-9) if value else 1e-9
    elif isinstance(value, int):
        yield path, value + 1 if value <= 0 else value - 1
    elif isinstance(value, str):
        yield path, value[:-1] + ("0" if value[-1:] != "0" else "1")


FOLLOWS = {
    "$.instrument_id": (),
    "$.receipt.rows": ("$.receipt", "$.id"),
    "$.calibration": ("$.calibration", "$.horizons"),
    "$.experts": ("$.experts", "$.horizons"),
}
"""What is taken from a record is noticed by what follows from it."""


def test_one_digit_of_any_field_is_noticed(made):
    forecast = next(one for one in all_of(made)[24:] if one.status == "model")
    changed = [(path, one) for path, one in changes(msgspec.to_builtins(forecast)) if path != "$.status"]
    assert len(changed) > 150
    for path, plain in changed:
        found = verdict_on(made, msgspec.convert(plain, Forecast))
        if path.startswith("$.receipt.batch"):
            assert found.kind == "identical", found  # Taken, and bits do not depend on it: that is the promise.
            continue
        assert found.kind != "identical", path
        allowed = next((paths for prefix, paths in FOLLOWS.items() if path.startswith(prefix)), (path,))
        assert found.problem or found.first.path.startswith(allowed), (path, found)
        assert not found.problem or path.startswith(("$.instrument_id", "$.receipt.rows")) or path.endswith(".hash")


def test_a_number_that_differs_is_told_with_both_values_and_by_how_much(made):
    forecast = a_model_forecast(made)
    horizon = made.models.horizons[-1]
    mean = forecast.horizons[horizon].mean
    for factor, kind in ((1 + NEAR / 2, "near"), (1 + 3 * NEAR, "different")):
        other = replace(forecast.horizons[horizon], mean=mean * factor)
        found = verdict_on(made, replace(forecast, horizons=forecast.horizons | {horizon: other}))
        assert (found.kind, found.first.path) == (kind, f"$.horizons.{horizon}.mean")
        assert (found.first.recorded, found.first.rebuilt) == (mean * factor, mean)
        assert found.largest == pytest.approx(factor - 1, rel=1e-3)


def test_what_is_no_number_is_never_near():
    one = decode_json(
        b'{"id":"a@1","instrument_id":"a","origin_time_ns":1,"status":"model","horizons":{},"model":'
        b'{"name":"n","version":"1","hash":"h"},"feature_set_id":"f","valid_until_ns":2,'
        b'"receipt":{"rows":[["t",0,0,0]],"features_hash":"x","batch":[16,0]}}',
        Forecast,
    )
    found = compared(one, replace(one, quality=["stale"]))
    assert (found.kind, found.first.path, found.first.rebuilt) == ("different", "$.quality", ["stale"])


def test_why_a_fallback_was_one_is_taken_from_the_record(made):
    fallback = next(one for one in all_of(made) if one.status == "fallback")
    assert verdict_on(made, replace(fallback, reason="another")).kind == "identical"
    assert verdict_on(made, replace(fallback, status="model")).kind == "different"
    assert verdict_on(made, replace(fallback, status="unavailable")).first.path == "$.status"


def test_a_bundle_that_is_gone_is_named_with_what_is_there(made):
    forecast = a_model_forecast(made)
    gone = replace(forecast.experts["lstm"], hash="ab" * 32)
    found = verdict_on(made, replace(forecast, experts=forecast.experts | {"lstm": gone}))
    there = made.models.networks[0].hash[:12]
    assert found.problem == (
        f"lstm abababababab made it, which is not in {REPOSITORY} (versions 1: {there}); put the folder of that "
        "version back, or set FORESHOCK_MODEL_REPOSITORY to where it is"
    )


def test_a_bundle_that_is_not_what_its_hash_says_is_told(made, tmp_path):
    names = [f"{network}-{made.profile}" for network in ("lstm", "performer")]
    for name in names:
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    weights = tmp_path / names[1] / "1" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    damaged = Library(made.profile, tmp_path, made.interval_ns)
    (found,) = verdicts(made.log, damaged, [a_model_forecast(made)])
    assert "which is not in" in found.problem
    assert "the hash of the files" in found.problem


def test_forecasts_with_a_version_in_shadow_are_identical(tmp_path):
    for name in ("lstm-ticks", "performer-ticks"):
        bundle = read(REPOSITORY / name / "1")
        louder = {part: weights * np.float32(1.1) for part, weights in bundle.weights.items()}
        for version, weights in (("1", bundle.weights), ("2", louder)):
            publish(replace(bundle.spec, version=version), weights, tmp_path)
    active, shadow = (read_models("ticks", tmp_path, version=version) for version in ("2", "1"))
    made = Made("ticks", beside(active, shadow), tmp_path)
    forecasts = all_of(made)
    assert any("lstm@1" in one.experts for one in forecasts)
    assert {one.model.version for one in forecasts} == {"2+2", "2"}
    found = list(verdicts(made.log, made.library, forecasts))
    assert [(one.forecast_id, one.first, one.problem) for one in found if one.kind != "identical"] == []


def test_without_a_repository_only_persistence_is_known(made, tmp_path):
    empty = Library(made.profile, tmp_path, made.interval_ns)
    with pytest.raises(StateError, match=r"har [0-9a-f]{12} made it, which is not in .* \(versions none\)"):
        empty.models(a_model_forecast(made))


def test_expired_rows_and_rows_of_another_log_are_told(made):
    forecast = all_of(made)[-1]
    made.log.low[FEATURE_ROW] = 8
    try:
        assert "its rows are expired; feature.row.v1[2] begins at 8" in verdict_on(made, forecast).problem
    finally:
        made.log.low.clear()
    rows = [("feature.row.v1", 2, 0, 999)]
    other = replace(forecast, receipt=replace(forecast.receipt, rows=rows))
    assert "is this the log that it is from?" in verdict_on(made, other).problem


def test_a_draw_is_the_same_for_the_same_seed_and_holds_each_record_once(made):
    draws = [[message.offset for message in drawn(made.log, 20, seed)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert draws[0] == sorted(set(draws[0]))
    assert len(draws[0]) == 20
    assert len(list(drawn(made.log, 1_000, 1))) == len(made.forecasts)


def test_what_is_no_forecast_is_a_verdict_of_its_own(made):
    message = next(drawn(made.log, 1, 1))._replace(value=b"{}", offset=7)
    (found,) = verdicts(made.log, made.library, read_forecasts([message]))
    assert (found.forecast_id, found.kind) == ("forecast.volatility.v1[2]@7", "unreadable")
    assert "missing required field `id`" in found.problem
