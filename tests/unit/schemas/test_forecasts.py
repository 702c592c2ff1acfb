import pytest

from schemas import DecodeError
from schemas.forecasts import Announcement, Calibration, Forecast, cloud_event_headers, decode_json, encode_json


def test_a_record_survives_its_bytes():
    announcement = Announcement(border_ns=5, feature_set_id="a", features={"x_5m": "1"})
    assert decode_json(encode_json(announcement), Announcement) == announcement


def test_an_error_names_the_path():
    with pytest.raises(DecodeError, match=r"^\$.id: Expected `str`, got `int`$"):
        decode_json(b'{"id": 3}', Forecast)


def test_a_share_outside_its_range_is_refused():
    with pytest.raises(DecodeError, match="coverage_ratio"):
        decode_json(
            b'{"instrument_id":"a","horizon":"5m","as_of_ns":1,"shift":[0,0],"coverage_ratio":1.5,"count":1}',
            Calibration,
        )


def test_deep_nesting_is_a_decode_error():
    with pytest.raises(DecodeError):
        decode_json(b"[" * 100_000, Forecast)


def test_text_that_is_none_is_a_decode_error():
    with pytest.raises(DecodeError):
        decode_json(b'{"kind": "feature-set", "feature_set_id": "\xff\xfe"}', Announcement)


def test_cloud_event_time_has_nanoseconds():
    headers = dict(cloud_event_headers("forecast", "id", 1_000_000_000_000_000_005, "subject"))
    assert headers["ce_time"] == b"2001-09-09T01:46:40.000000005Z"
    assert headers["ce_type"] == b"foreshock.forecast.v1"
