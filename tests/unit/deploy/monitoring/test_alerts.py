"""Alerts fire when they should and else stay silent, name what exists, and each has its runbook."""

import re
import subprocess

import promql_parser
import pytest
import yaml

from deploy.alertmanager import CONFIGURATION, amtool_program
from deploy.monitoring.alerts import ALERTS
from deploy.monitoring.files import FOLDER, rule_files, write_rules
from deploy.monitoring.recording import recording_groups
from deploy.monitoring.thresholds import FILE, Thresholds
from deploy.prometheus import promtool_program
from schemas.errors import SettingsError
from schemas.foreign_metrics import FOREIGN_METRICS
from schemas.metrics import METRICS
from tests.unit.deploy.monitoring.alert_cases import CASES

RULES = yaml.safe_load(rule_files()["alerts.yaml"])["groups"][0]["rules"]
RUNBOOKS = FOLDER.parent / "runbooks"
HEADINGS = ("What it means", "What to look at", "What to do", "How to know that it is over")


def names_in(expression):
    """The metrics and labels that a query names."""
    found = []

    def walk(node):
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, {matcher.name for matcher in node.matchers.matchers}))
        for part in ("expr", "lhs", "rhs", "param", "vector_selector"):
            child = getattr(node, part, None)
            if child is not None and not isinstance(child, (str, float)):
                walk(child)
        for child in getattr(node, "args", None) or ():
            walk(child)

    walk(promql_parser.parse(expression))
    return found


def known_metrics():
    names = {}
    for metric in (*METRICS, *FOREIGN_METRICS):
        # What Prometheus adds by its targets: see streams/targets.py and deploy/prometheus.py.
        labels = {*metric.labels, "job", "instance", "process", "stage"}
        for end in ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",):
            names[metric.name + end] = labels | {"le"}
    groups = recording_groups(Thresholds())
    return names | {rule["record"]: {"model", "version", "horizon"} for group in groups for rule in group["rules"]}


@pytest.mark.parametrize("name", ["recording.yaml", "alerts.yaml"])
def test_committed_rules_equal_the_generated_ones(name):
    assert (FOLDER / name).read_text() == rule_files()[name], "run python -m deploy.monitoring"


def test_alerts_and_recorded_series_name_metrics_that_exist_and_labels_that_they_have():
    known = known_metrics()
    expressions = [rule["expr"] for group in recording_groups(Thresholds()) for rule in group["rules"]]
    for expression in (*expressions, *(rule["expr"] for rule in RULES)):
        selectors = names_in(expression)
        assert selectors
        for name, labels in selectors:
            assert name in known, expression
            assert labels <= known[name], expression


def test_every_alert_has_a_runbook_that_answers_four_questions_and_no_runbook_is_left_over():
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {rule["alert"] for rule in RULES}
    for path in RUNBOOKS.glob("*.md"):
        assert [line[3:] for line in path.read_text().splitlines() if line.startswith("## ")] == list(HEADINGS), path


def test_runbooks_name_metrics_and_commands_that_exist():
    from typer.main import get_command

    from streams.cli import app

    commands = get_command(app)
    known = known_metrics().keys() | {metric.name for metric in METRICS}
    for path in RUNBOOKS.glob("*.md"):
        text = path.read_text()
        assert set(re.findall(r"\b(?:foreshock|nv_inference)_[a-z_]+\w", text)) <= known, path
        for said in re.findall(r"foreshock ([a-z][a-z-]+)", text):
            assert said in commands.commands, (path, said)


def test_every_alert_says_what_it_is_and_where_to_look():
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url", "dashboard_url"}
        assert rule["annotations"]["runbook_url"] == f"deploy/runbooks/{rule['alert']}.md"
        assert not re.search(r"<\w+>|\[[a-z_]+\]", str(rule)), "a threshold that is not declared"


def test_every_threshold_is_used_and_both_profiles_differ_in_windows():
    texts = [str(alert) for alert in ALERTS] + [path.read_text() for path in FOLDER.glob("*.py")]
    for name in Thresholds().names:
        assert any(name in text for text in texts) or name.startswith("burn_"), name
    assert rule_files("test") != rule_files("production")


def test_a_threshold_without_a_reason_is_refused(tmp_path):
    (tmp_path / "thresholds.yaml").write_text("lag: {value: 1, unit: s, change: never}")
    with pytest.raises(SettingsError, match="lag needs value, unit, reason, change"):
        Thresholds(path=tmp_path / "thresholds.yaml")
    with pytest.raises(SettingsError, match=f"{FILE.name}: coverage_low is no time"):
        Thresholds().duration("coverage_low")


@pytest.mark.parametrize("profile", ["production", "test"])
def test_prometheus_takes_the_rules(tmp_path, profile):
    paths = write_rules(tmp_path, profile)
    done = subprocess.run([promtool_program(), "check", "rules", *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_takes_its_configuration():
    done = subprocess.run(
        [amtool_program(), "check-config", CONFIGURATION], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case():
    assert CASES.keys() == {rule["alert"] for rule in RULES}


def case_files(folder):
    """Write all cases as promtool's tests: each alert fires on one set of series, and not on the other.

    Those of hours have a file of their own: all rules are evaluated at each step of each test.
    """
    paths = write_rules(folder, "production")
    files = []
    for steps, every in (("15s", "15s"), ("1m", "5m")):
        tests = [
            {
                "name": alert,
                "interval": case.interval,
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [{"expr": firing(alert), "eval_time": case.at, "exp_samples": expected}],
            }
            for alert, cases in CASES.items()
            for case in cases
            if case.interval == steps
            for series, expected in ((case.fires, [{"labels": "{}", "value": 1}]), (case.silent, []))
        ]
        written = {"rule_files": [str(path) for path in paths], "evaluation_interval": every, "tests": tests}
        files.append(folder / f"cases-{steps}.yaml")
        files[-1].write_text(yaml.safe_dump(written, sort_keys=False))
    return files


def firing(alert):
    return f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0'


def test_every_alert_fires_when_it_should_and_not_otherwise(tmp_path):
    command = [promtool_program(), "test", "rules", *case_files(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
