from pathlib import Path

import pytest

from schemas.errors import SettingsError
from schemas.rules import BARS, TICKS
from streams.settings import Settings, describe


def test_defaults_give_the_rules_of_the_tick_profile():
    assert Settings().rules == TICKS
    assert Settings(profile="bars").rules == BARS


def test_a_rule_set_otherwise_changes_the_rules_id():
    settings = Settings.from_environment(
        {"FORESHOCK_ROW_INTERVAL_SECONDS": "5", "FORESHOCK_RAW_EXCHANGE_PARTITIONS": "2"}
    )
    assert settings.rules.row_interval_ns == 5_000_000_000
    assert settings.rules.raw_partitions["raw.exchange.v1"] == 2
    assert settings.rules.rules_id != TICKS.rules_id


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("FORESHOCK_WORKERS", "two", "FORESHOCK_WORKERS: expected a whole number, got 'two'"),
        ("FORESHOCK_WORKERS", "0", "FORESHOCK_WORKERS: expected 1 to 64, got 0"),
        ("FORESHOCK_BATCH_MS", "x", "FORESHOCK_BATCH_MS: expected a number, got 'x'"),
        ("FORESHOCK_BATCH_MS", "nan", "FORESHOCK_BATCH_MS: expected 0 to 60000, got nan"),
        ("FORESHOCK_IDLE_TIMEOUT_SECONDS", "nan", "FORESHOCK_IDLE_TIMEOUT_SECONDS: expected -1 to 3600, got nan"),
        ("FORESHOCK_TILE_INTERVAL_SECONDS", "0", "FORESHOCK_TILE_INTERVAL_SECONDS: expected more than 0, or -1, got 0"),
        (
            "FORESHOCK_ROW_INTERVAL_SECONDS",
            "1.5",
            "FORESHOCK_ROW_INTERVAL_SECONDS: expected whole tiles of 1 s, got 1.5 s",
        ),
        ("FORESHOCK_PROFILE", "hours", "FORESHOCK_PROFILE: expected one of ticks, bars, got 'hours'"),
        (
            "FORESHOCK_WORKRS",
            "1",
            (
                "FORESHOCK_WORKRS: there is no such setting; did you mean FORESHOCK_WORKERS or FORESHOCK_WORKER? "
                "`foreshock settings` lists them all"
            ),
        ),
        ("FORESHOCK_XYZ", "1", "FORESHOCK_XYZ: there is no such setting; `foreshock settings` lists them all"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_setting(variable, value, said):
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({variable: value})
    assert str(caught.value) == said


def test_a_child_process_gets_the_same_settings():
    settings = Settings(workers=3, profile="bars", state_dir=Path("/tmp/x"), bootstrap_servers="h:1,h:2")
    assert Settings.from_environment(settings.environment()) == settings


def test_the_local_stack_is_where_its_ports_say():
    settings = Settings(kafka_port=20_001, triton_grpc_port=20_002)
    assert (settings.bootstrap_servers, settings.triton_url) == ("127.0.0.1:20001", "127.0.0.1:20002")


def test_every_setting_is_described():
    for name, _, _, meaning in describe():
        assert name.startswith("FORESHOCK_")
        assert meaning
