"""The runbooks as a dashboard of their own: links to them work wherever Grafana runs, with no server of pages."""

from functools import cache
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.builders import text
from grafana_foundation_sdk.models.dashboard import Dashboard as Built
from grafana_foundation_sdk.models.text import TextMode

from deploy.cache import DEPLOY
from deploy.dashboards.limits import thresholds
from deploy.monitoring.files import all_alerts
from schemas.errors import SettingsError

UID = "foreshock-runbooks"
FOLDER = DEPLOY / "runbooks"
_LINES_PER_HEIGHT = 1.5
_FRAME_HEIGHT = 3


@cache
def alert_names() -> tuple[str, ...]:
    """Return the names of all alerts, each once."""
    return tuple(dict.fromkeys(alert.name for alert in all_alerts(thresholds())))


def runbook_url(alert: str) -> str:
    """Return the address of an alert's runbook within Grafana; raises SettingsError for an unknown alert."""
    if alert not in alert_names():
        raise SettingsError(f"there is no alert {alert!r}; there are: {', '.join(alert_names())}")
    return f"/d/{UID}?viewPanel={_number(alert)}"


def runbook_board(link: grafana.DashboardLink, tag: str, folder: Path = FOLDER) -> Built:
    """Return the dashboard: a panel for each runbook that there is, numbered by its alert's place among all."""
    made = grafana.Dashboard("Foreshock / Runbooks").uid(UID).tags([tag]).timezone("utc").readonly().link(link)
    made.description("What each alert means, what to look at, what to do, and how to know that it is over.")
    for alert in alert_names():
        path = folder / f"{alert}.md"
        if path.exists():
            words = path.read_text()
            panel = text.Panel().title(alert).description(f"Runbook of the alert {alert}.").id(_number(alert))
            made.with_panel(panel.mode(TextMode.MARKDOWN).content(words).span(24).height(_height(words)))
    return made.build()


def _number(alert: str) -> int:
    return 1 + alert_names().index(alert)


def _height(words: str) -> int:
    return _FRAME_HEIGHT + round(words.count("\n") / _LINES_PER_HEIGHT)
