"""Feature sets and the borders that they begin at, on the log for every worker to agree on.

A worker that let its features begin "at the next border" would give each partition, and each run,
another beginning (research: 295 of 300 small histories differ). So the border is written first.
"""

from collections.abc import Sequence

from featurestore.catalogue import Catalogue
from schemas.errors import StateError
from schemas.forecasts import Announcement, cloud_event_headers, decode_json, encode_json
from schemas.rules import MINUTE_NS
from schemas.topics import FEATURE_ROW, OPS_MODEL
from streams.kafka import Outbox, read_topic
from streams.settings import Settings

LEAD_NS = MINUTE_NS
"""How far past the last row a new feature set begins: every worker must be able to read of it first."""


def announcements(settings: Settings) -> list[Announcement]:
    """Return the announced feature sets, in the order in which they were written."""
    return [
        decode_json(message.value, Announcement)
        for message in read_topic(settings, OPS_MODEL)
        if message.key == b"feature-set" and message.value is not None
    ]


def announce(settings: Settings, catalogue: Catalogue) -> Announcement:
    """Announce the features of `catalogue` unless they are the last ones announced; return what holds.

    The first set begins with the log; a later one `LEAD_NS` after the last row, on a whole minute.
    Raises FeatureError where code changed under an unchanged name and `version=`.
    """
    known = announcements(settings)
    features = catalogue.versions
    if known and known[-1].features == features:
        return known[-1]
    if known:
        catalogue.require_unchanged(known[-1].features)
    border = 0 if not known else (last_row_ns(settings) + LEAD_NS) // MINUTE_NS * MINUTE_NS + MINUTE_NS
    announcement = Announcement(border_ns=border, feature_set_id=catalogue.feature_set_id, features=features)
    headers = cloud_event_headers("announcement", catalogue.feature_set_id, border, "feature-set")
    outbox = Outbox(settings, "foreshock-announce")
    outbox.send(OPS_MODEL, encode_json(announcement), key=b"feature-set", headers=headers)
    outbox.flush_acknowledged()
    return announcements(settings)[-1]


def require_announced(catalogue: Catalogue, known: Sequence[Announcement]) -> None:
    """Raise StateError unless the last announced set is that of `catalogue`."""
    if not known:
        raise StateError("no feature set is announced; run `foreshock features announce`")
    announced, present = known[-1].features, catalogue.versions
    for name in sorted(announced.keys() | present.keys()):
        if announced.get(name) != present.get(name):
            state = "announced and not in the code" if name not in present else "new or changed"
            raise StateError(f"feature {name} is {state}; run `foreshock features announce`, then start again")


def last_row_ns(settings: Settings) -> int:
    """Return the time of the last feature row of any partition, 0 where there is none."""
    times = (int(message.headers["row_time_ns"]) for message in read_topic(settings, FEATURE_ROW, last=1))
    return max(times, default=0)
