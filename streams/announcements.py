"""Feature sets and the borders that they begin at, on the log for every worker to agree on.

A worker that let its features begin "at the next border" would give each partition, and each run,
another beginning (research: 295 of 300 small histories differ). So the border is written first, and
counts only once no worker can have passed it: a set is proposed, then confirmed or withdrawn.

What makes that safe: when a worker reads all of `ops.model` it may close, until it reads again, what
ingest's progress had made complete before, and `span_ns` beyond what it had closed and Kafka had
acknowledged. Whoever reads, after the proposal was acknowledged, that no progress, row or market part
reaches within `span_ns` of the border, knows that every worker will read of it in time. A worker that
reads of a proposal waits at its border until it is decided.
"""

from collections.abc import Iterable
from typing import NamedTuple

from featurestore.catalogue import Catalogue
from schemas.batches import Progress
from schemas.errors import StateError
from schemas.forecasts import Announcement, MarketPart, cloud_event_headers, decode_json, encode_json
from schemas.rules import MINUTE_NS, Rules
from schemas.topics import EXCHANGE_EVENT, FEATURE_ROW, MARKET_STATE, OPS_MODEL
from streams.kafka import Outbox, read_topic
from streams.settings import Settings
from streams.stage import Message

ANNOUNCED = b"feature-set"
PROPOSED = b"feature-set-proposal"
WITHDRAWN = b"feature-set-withdrawn"
SPAN_ROWS = 120
"""Row borders that a worker may close between two looks at `ops.model`."""
_ATTEMPTS = 5
_LAST_ROWS = 64
_LAST_PARTS = 256
_LAST_EVENTS = 2_000
"""Records of a partition in which the last progress is looked for: it comes at each row border."""


def span_ns(rules: Rules) -> int:
    """Return how far a worker may close tiles beyond what was closed when it last read all announcements."""
    return SPAN_ROWS * rules.row_interval_ns


class Proposal(NamedTuple):
    """A feature set that waits for its decision, and when it was written, in seconds since 1970."""

    announcement: Announcement
    written_at: float


class AnnouncementLog:
    """What `ops.model` says of feature sets, in the order of its offsets."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.announced: list[Announcement] = []
        self.open: list[Proposal] = []
        """Neither confirmed nor withdrawn, in the order in which they were proposed."""
        self._decided: list[Announcement] = []
        for message in messages:
            self.add(message)

    def add(self, message: Message) -> Announcement | None:
        """Take one record; return the set that it announces for good. Of two decisions the first counts."""
        if message.value is None or message.key not in {ANNOUNCED, PROPOSED, WITHDRAWN}:
            return None
        announcement = decode_json(message.value, Announcement)
        if message.key == PROPOSED:
            self.open.append(Proposal(announcement, message.timestamp_ms / 1e3))
            return None
        self.open = [other for other in self.open if other.announcement != announcement]
        if announcement in self._decided:
            return None
        self._decided.append(announcement)
        if message.key == WITHDRAWN:
            return None
        self.announced.append(announcement)
        return announcement

    @property
    def closed_until_ns(self) -> int | None:
        """Return the border at which workers wait for a decision; None where nothing is proposed."""
        return min((proposal.announcement.border_ns for proposal in self.open), default=None)


def announcements(settings: Settings) -> list[Announcement]:
    """Return the announced feature sets, in the order in which they were written."""
    return AnnouncementLog(read_topic(settings, OPS_MODEL)).announced


def announce(settings: Settings, catalogue: Catalogue) -> Announcement:
    """Announce the features of `catalogue` unless they are the last ones announced; return what holds.

    The first set begins with the log; a later one at a whole minute that no worker can have passed.
    Raises FeatureError where code changed under an unchanged name and `version=`, StateError where
    workers pass each border before it can be confirmed.
    """
    log = AnnouncementLog(read_topic(settings, OPS_MODEL))
    outbox = Outbox(settings, "foreshock-announce")
    for proposal, _ in log.open:
        # Whoever proposed it ended before the decision, and workers may wait for it.
        if _decide(settings, outbox, proposal):
            log.announced.append(proposal)
    features = catalogue.versions
    if log.announced and log.announced[-1].features == features:
        return log.announced[-1]
    if not log.announced:
        first = Announcement(border_ns=0, feature_set_id=catalogue.feature_set_id, features=features)
        _send(outbox, ANNOUNCED, first)
        return announcements(settings)[-1]
    catalogue.require_unchanged(log.announced[-1].features)
    for attempt in range(_ATTEMPTS):
        # Workers that catch up are fast: each attempt leaves them more room.
        border_ns = _border_ns(settings, ahead_ns=2 ** (attempt + 1) * span_ns(settings.rules))
        proposal = Announcement(border_ns=border_ns, feature_set_id=catalogue.feature_set_id, features=features)
        _send(outbox, PROPOSED, proposal)
        try:
            confirmed = _decide(settings, outbox, proposal)
        except BaseException:
            # Workers wait at its border until somebody decides.
            _send(outbox, WITHDRAWN, proposal)
            raise
        if confirmed:
            return proposal
    raise StateError("rows are written faster than a feature set can begin: wait until the workers caught up")


def _decide(settings: Settings, outbox: Outbox, proposal: Announcement) -> bool:
    """Confirm a proposal that no worker can have passed, or withdraw it."""
    confirmed = reached_ns(settings) + span_ns(settings.rules) < proposal.border_ns
    _send(outbox, ANNOUNCED if confirmed else WITHDRAWN, proposal)
    # Another who announces at the same moment may have decided before us.
    return proposal in AnnouncementLog(read_topic(settings, OPS_MODEL)).announced


def _send(outbox: Outbox, key: bytes, announcement: Announcement) -> None:
    headers = cloud_event_headers("announcement", announcement.feature_set_id, announcement.border_ns, key.decode())
    outbox.send(OPS_MODEL, encode_json(announcement), key=key, headers=headers)
    outbox.flush_acknowledged()


def _border_ns(settings: Settings, ahead_ns: int) -> int:
    step = max(MINUTE_NS, settings.rules.row_interval_ns)
    return (reached_ns(settings) + ahead_ns) // step * step + step


def reached_ns(settings: Settings) -> int:
    """Return the greatest time that progress, rows or market parts have reached, 0 where there are none."""
    rows = (int(message.headers["row_time_ns"]) for message in read_topic(settings, FEATURE_ROW, last=_LAST_ROWS))
    # Partitions without instruments write no rows, but each writes its part, or that it has none, to all.
    parts = (
        decode_json(message.value, MarketPart).to_ns
        for message in read_topic(settings, MARKET_STATE, last=_LAST_PARTS)
        if message.value is not None
    )
    return max([0, *rows, *parts, *_watermarks_ns(settings)])


def _watermarks_ns(settings: Settings) -> list[int]:
    """Return the watermarks told of late in the exchange's events.

    What is complete for a worker needs all raw partitions, so it is at most the last that any of them told.
    """
    # An ingest that was started again tells some of its progress anew: the greatest counts, not the last.
    return [
        Progress.decode(message.headers[Progress.header]).watermark_ns
        for message in read_topic(settings, EXCHANGE_EVENT, last=_LAST_EVENTS)
        if Progress.header in message.headers
    ]


def unannounced(catalogue: Catalogue, known: AnnouncementLog) -> list[str]:
    """Return the features of the code that no set in force or to come holds; raises StateError without any set."""
    if not known.announced:
        raise StateError("no feature set is announced; run `foreshock features announce`")
    announced = known.announced[-1].features
    return [name for name, version in sorted(catalogue.versions.items()) if announced.get(name) != version]
