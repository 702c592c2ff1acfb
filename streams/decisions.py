"""Which version of a profile's networks makes the forecasts, on the log for every worker to agree on.

Decisions are records of `ops.model`, in the order of their offsets; each holds for origins from its
border on, and of two that hold the later one counts. Without any, the version that was published
first is active: a bundle that only lies in the repository changes no forecast.
"""

import logging
from collections.abc import Iterable
from typing import NamedTuple

from schemas.decisions import ModelDecision
from schemas.errors import DecodeError
from schemas.forecasts import Forecast, cloud_event_headers, decode_json, encode_json
from schemas.rules import SECOND_NS
from schemas.topics import FORECAST, OPS_MODEL
from streams.kafka import Outbox, read_topic
from streams.settings import Settings
from streams.stage import Message

LOGGER = logging.getLogger("foreshock.model")
DECIDED = b"model-decision"
LEAD_NS = 10 * SECOND_NS
"""A border lies so far ahead of the last forecast: infer looks twice a second, and has the version loaded."""
COLD_LEAD_NS = 60 * SECOND_NS
"""So far where Triton still has to load it."""
_LAST_FORECASTS = 256


class Standing(NamedTuple):
    """What holds for the origins of one moment."""

    history: tuple[str, ...] = ()
    """The versions that a rollback goes back through; the last is active. Empty before any promotion."""
    shadow: str = ""
    """The version that is asked beside the active one; "" where none is."""
    since_ns: int = 0
    """From here on the shadow was compared with the version that is active now."""
    refused: int = 0
    """How often a test on these comparisons refused it."""


class DecisionLog:
    """The decisions of one profile."""

    def __init__(self, profile: str, messages: Iterable[Message] = ()) -> None:
        self.profile = profile
        self.decisions: list[tuple[ModelDecision, int]] = []
        """Each with the time at which it was written, in milliseconds since 1970."""
        for message in messages:
            self.add(message)

    def add(self, message: Message) -> ModelDecision | None:
        """Take one record of `ops.model`; return it where it decides of this profile. Raises DecodeError."""
        if message.key != DECIDED or message.value is None:
            return None
        decision = decode_json(message.value, ModelDecision)
        if decision.profile != self.profile:
            return None
        self.decisions.append((decision, message.timestamp_ms))
        return decision

    def take(self, messages: Iterable[Message]) -> bool:
        """Take records and return whether one decides of this profile; what cannot be read is left out and said.

        The topic keeps a damaged record for ever: it must not keep people from rolling back.
        """
        found = False
        for message in messages:
            try:
                found |= self.add(message) is not None
            except DecodeError as error:
                LOGGER.warning("left out: %s", error.at(f"{message.topic}[{message.partition}]@{message.offset}"))
        return found

    def at(self, origin_ns: int | None = None) -> Standing:
        """Return what holds for an origin; None: once every border is passed."""
        standing = Standing()
        for decision, _ in self.decisions:
            if origin_ns is None or decision.border_ns <= origin_ns:
                standing = _after(standing, decision)
        return standing

    def next_border_ns(self, origin_ns: int) -> int | None:
        """Return the first border behind an origin, None where there is none."""
        borders = (decision.border_ns for decision, _ in self.decisions)
        return min((border for border in borders if border > origin_ns), default=None)

    def first(self) -> str:
        """Return the version that was active before the first promotion; "" where there was none."""
        return next((each.before for each, _ in self.decisions if each.kind == "promote"), "")

    def written_ms(self, version: str) -> int:
        """Return when the last shadow of a version was decided, in milliseconds since 1970; 0: never."""
        times = (ms for each, ms in self.decisions if each.kind == "shadow" and each.version == version)
        return max(times, default=0)


def _after(standing: Standing, decision: ModelDecision) -> Standing:
    version, border_ns = decision.version, decision.border_ns
    if decision.kind == "refuse":
        # One for want of scores looked at nothing.
        return standing._replace(refused=standing.refused + bool(decision.better_level))
    if decision.kind == "shadow":
        return Standing(standing.history, version, border_ns)
    if decision.kind == "withdraw":
        return Standing(standing.history)
    if decision.kind == "promote":
        history = (*(standing.history or (decision.before,)), version)
    else:
        # Back to where it stands in the history: what was promoted behind it is retired.
        history = standing.history
        while history and history[-1] != version:
            history = history[:-1]
        history = history or (*standing.history, version)
    shadow = "" if standing.shadow == version else standing.shadow
    return Standing(history, shadow, border_ns)


def read_decisions(settings: Settings) -> DecisionLog:
    """Return all decisions of the settings' profile that the topic holds now."""
    log = DecisionLog(settings.profile)
    log.take(read_topic(settings, OPS_MODEL))
    return log


def border_ns(settings: Settings, lead_ns: int = LEAD_NS) -> int:
    """Return a border that forecasts have not reached: a whole row interval; 0 where there is none yet."""
    last = read_topic(settings, FORECAST, last=_LAST_FORECASTS)
    reached = max((origin for origin in map(_origin_ns, last) if origin is not None), default=None)
    if reached is None:
        return 0
    interval_ns = settings.rules.row_interval_ns
    return (reached + lead_ns) // interval_ns * interval_ns + interval_ns


def _origin_ns(message: Message) -> int | None:
    """Return the origin of a forecast, None of a record that cannot be read."""
    try:
        return decode_json(message.value or b"", Forecast).origin_time_ns
    except DecodeError:
        return None


def decide(settings: Settings, decision: ModelDecision) -> None:
    """Write a decision, and return once Kafka has it."""
    name = f"{decision.profile}/{decision.kind}/{decision.version}@{decision.border_ns}"
    headers = cloud_event_headers("model-decision", name, decision.border_ns, decision.profile)
    outbox = Outbox(settings, "foreshock-model")
    outbox.send(OPS_MODEL, encode_json(decision), key=DECIDED, headers=headers)
    outbox.flush_acknowledged()
