"""The rule files that Prometheus loads, for a profile of thresholds."""

from pathlib import Path

import yaml

from deploy.cache import DEPLOY
from deploy.monitoring.alerts import ALERTS, Alert
from deploy.monitoring.burning import burn_alerts
from deploy.monitoring.recording import recording_groups
from deploy.monitoring.thresholds import Profile, Thresholds

FOLDER = DEPLOY / "monitoring"
RUNBOOKS = "deploy/runbooks"
_HEAD = "# Made by `python -m deploy.monitoring` from deploy/thresholds.yaml.\n"


def rule_files(profile: Profile = "production") -> dict[str, str]:
    """Return the text of each rule file by its name; raises SettingsError."""
    thresholds = Thresholds(profile)
    alerts = [_rule(alert, thresholds) for alert in all_alerts(thresholds)]
    return {
        "recording.yaml": _text(recording_groups(thresholds)),
        "alerts.yaml": _text([{"name": "foreshock-alerts", "rules": alerts}]),
    }


def write_rules(folder: Path, profile: Profile) -> tuple[Path, ...]:
    """Write the rule files of a profile into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in rule_files(profile).items():
        (folder / name).write_text(text)
        paths.append(folder / name)
    return tuple(paths)


def all_alerts(thresholds: Thresholds) -> tuple[Alert, ...]:
    """Return every alert, those of the SLOs last."""
    return (*ALERTS, *burn_alerts(thresholds))


def _rule(alert: Alert, thresholds: Thresholds) -> dict[str, object]:
    labels = {"severity": alert.severity} | ({"slo": alert.slo} if alert.slo else {})
    return {
        "alert": alert.name,
        "expr": thresholds.fill(alert.expr),
        "for": thresholds.duration(alert.hold),
        "labels": labels,
        "annotations": {
            "summary": thresholds.fill(alert.summary),
            "description": thresholds.fill(alert.description),
            "runbook_url": f"{RUNBOOKS}/{alert.name}.md",
            "dashboard_url": f"/d/foreshock-{alert.dashboard}",
        },
    }


def _text(groups: list[dict[str, object]]) -> str:
    text: str = yaml.safe_dump({"groups": groups}, sort_keys=False, width=120, allow_unicode=True)
    return _HEAD + text
