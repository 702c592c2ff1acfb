"""The demo as a newcomer runs it, only shorter."""

import json
import subprocess
import sys

import pytest

FIELDS = [
    "frames_in",
    "decoded",
    "left_out",
    "dead_letters",
    "late_events",
    "rows",
    "forecasts",
    "networks",
    "scores",
    "latency_ms",
    "events_per_second",
]


@pytest.mark.timeout(300)
def test_a_short_demo_reports_forecasts_of_both_networks_beside_log_har(tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "streams.cli", "demo", "--seconds", "120", "--report", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(report.read_bytes())
    assert set(FIELDS) <= found.keys()
    assert found["frames_in"] == found["decoded"] + sum(found["left_out"].values()) + found["dead_letters"]
    assert found["dead_letters"] == 0
    assert sum(found["forecasts"].values()) == found["rows"] > 0
    assert found["forecasts"]["model"] > 0
    assert found["networks"].keys() == {"lstm", "performer"}
    assert found["attention"] > 0
    assert found["scores"]["1m"].keys() == {"combined", "har", "lstm", "performer"}
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert "Latest forecasts" in done.stdout
