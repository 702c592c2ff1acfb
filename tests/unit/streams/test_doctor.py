"""What the doctor makes of what it sees; a test on a real set-up is in tests/integration."""

import shutil
from collections import Counter

import pytest

from streams import doctor
from streams.doctor.broker import skew_finding
from streams.doctor.disk import GIB, room_finding
from streams.doctor.finding import error, fine, is_healthy, warning
from streams.doctor.flow import told_of
from streams.doctor.groups import Group, findings_of
from streams.doctor.models import bundle_findings
from streams.settings import Settings
from triton_models.export import REPOSITORY


def severities(findings):
    return [finding.severity for finding in findings]


def test_a_warning_is_healthy_and_an_error_is_not():
    assert is_healthy([fine("a", "b", "c"), warning("a", "b", "c", "d")])
    assert not is_healthy([fine("a", "b", "c"), error("a", "b", "c", "d")])


@pytest.mark.parametrize(
    ("seconds", "severity"), [(0.1, "ok"), (-0.6, "warning"), (0.6, "warning"), (2.1, "error"), (-2.1, "error")]
)
def test_clocks_that_differ_are_told_with_the_direction(seconds, severity):
    found = skew_finding(seconds)
    assert found.severity == severity
    assert ("ahead of" if seconds > 0 else "behind") in found.what


@pytest.mark.parametrize(("free", "severity"), [(GIB - 1, "error"), (GIB, "warning"), (5 * GIB, "ok")])
def test_little_room_is_told_before_it_is_gone(free, severity):
    assert room_finding("state: /x", free).severity == severity


def test_a_commit_beyond_the_end_is_an_error_that_names_the_topic():
    group = Group("infer", "STABLE", 1, {("feature.row.v1", 2): (50, 40), ("feature.row.v1", 1): (10, 40)})
    (found,) = findings_of(group, "here:9092")
    assert found.severity == "error"
    assert "committed offset 50 of feature.row.v1[2], which ends at 40" in found.what
    assert "--bootstrap-server here:9092 --group infer --topic feature.row.v1 --reset-offsets" in found.fix


def test_a_group_without_members_is_told_with_what_waits():
    (found,) = findings_of(Group("score", "EMPTY", 0, {("a", 0): (3, 10)}), "")
    assert (found.severity, found.what) == ("warning", "nobody is in it, 7 records wait")
    assert severities(findings_of(Group("score", "STABLE", 1, {("a", 0): (3, 10)}), "")) == ["ok"]


def test_bundles_are_checked_by_hash_and_by_the_features_that_they_pin(tmp_path):
    assert severities(bundle_findings(Settings())) == ["ok", "ok"]
    copy = tmp_path / "repository"
    shutil.copytree(REPOSITORY, copy)
    weights = next((copy / "lstm-ticks").glob("*/weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    settings = Settings(model_repository=str(copy))
    found = {finding.subject: finding for finding in doctor._checked({"bundles": bundle_findings}, settings, str)}
    assert found["lstm-ticks 1"].severity == "error"
    assert "foreshock train" in found["lstm-ticks 1"].fix
    assert found["performer-ticks 1"].severity == "ok"


def test_a_bad_setting_is_a_finding_and_the_last_one():
    (found,) = doctor.diagnose({"FORESHOCK_WORKERS": "many"})
    assert (found.check, found.severity, found.subject) == ("settings", "error", "FORESHOCK_WORKERS")


def test_without_servers_the_doctor_says_how_to_start_them(tmp_path):
    environment = {
        "FORESHOCK_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "FORESHOCK_TRITON_URL": "127.0.0.1:1",
        "FORESHOCK_STATE_DIR": str(tmp_path),
    }
    told = []
    found = {finding.check: finding for finding in doctor.diagnose(environment, told.append)}
    assert told == ["settings", "bundles", "Triton", "disk"]
    assert all(found[name].severity == "error" and "foreshock up" in found[name].fix for name in ("Triton", "broker"))


def test_many_fallbacks_are_told_with_their_most_frequent_reasons():
    reasons = Counter({"no answer within the deadline": 40, "breaker open": 9, "state": 1})
    (found,) = told_of({"model": 450, "fallback": 50}, reasons)
    assert found.severity == "warning"
    assert "10.0 % fallback, 90.0 % model" in found.what
    assert found.what.endswith("no answer within the deadline (40); breaker open (9)")
    (found,) = told_of({"model": 480, "fallback": 20}, reasons)
    assert found.severity == "ok"
    (found,) = told_of({}, Counter())
    assert "none yet" in found.what
