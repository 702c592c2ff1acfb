"""The doctor: looks at everything that a run needs, and says of each what is wrong and what to do."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from confluent_kafka import KafkaException

from schemas.errors import ForeshockError, SettingsError
from streams.commands.checks import require_broker
from streams.doctor.broker import broker_findings, clock_findings
from streams.doctor.disk import disk_findings, log_findings
from streams.doctor.finding import Finding, error, fine, is_healthy
from streams.doctor.flow import dead_letter_findings, forecast_findings, source_findings
from streams.doctor.groups import group_findings
from streams.doctor.models import bundle_findings, triton_findings
from streams.doctor.topics import feature_findings, topic_findings
from streams.settings import Settings

__all__ = ["Finding", "diagnose", "is_healthy"]

Check = Callable[[Settings], Iterable[Finding]]

_HERE: dict[str, Check] = {"bundles": bundle_findings, "Triton": triton_findings}
_BROKER: dict[str, Check] = {
    "broker": broker_findings,
    "topics": topic_findings,
    "features": feature_findings,
    "groups": group_findings,
    "sources": source_findings,
    "forecasts": forecast_findings,
    "dead letters": dead_letter_findings,
    "clock": clock_findings,
    "disk": log_findings,
}


def diagnose(environment: Mapping[str, str], said: Callable[[str], None] = lambda _: None) -> Iterator[Finding]:
    """Yield what each check says; what cannot be checked is a finding as well. `said` is told the next check."""
    said("settings")
    try:
        settings = Settings.from_environment(environment)
    except SettingsError as problem:
        yield error("settings", str(problem).partition(":")[0], str(problem), "foreshock settings lists them all")
        return
    yield fine("settings", "environment", f"rules {settings.rules.rules_id}, profile {settings.profile}")
    yield from _checked(_HERE, settings, said)
    try:
        require_broker(settings)
    except ForeshockError as problem:
        yield error("broker", settings.bootstrap_servers, str(problem).split("; ")[0], "foreshock up")
    else:
        yield from _checked(_BROKER, settings, said)
    yield from _checked({"disk": disk_findings}, settings, said)


def _checked(checks: Mapping[str, Check], settings: Settings, said: Callable[[str], None]) -> Iterator[Finding]:
    for name, check in checks.items():
        said(name)
        try:
            yield from check(settings)
        except (ForeshockError, KafkaException, TimeoutError) as problem:
            yield error(
                name, "check", f"cannot be made: {problem or 'no answer in time'}", "put this right and ask again"
            )
