"""Topics as declared, and the features that workers are told to make."""

import time
from collections.abc import Iterator

from featurestore.catalogue import Catalogue
from schemas.errors import StateError
from schemas.topics import OPS_MODEL, topics
from streams.announcements import AnnouncementLog, unannounced
from streams.doctor.finding import Finding, error, fine, warning
from streams.kafka import partition_counts, read_topic
from streams.settings import Settings
from streams.topic_setup import APPLY, topic_problems

UNDECIDED_SECONDS = 60.0
"""A proposal is decided within seconds by whoever wrote it."""
_ANNOUNCE = "foreshock features announce"


def topic_findings(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each way in which a topic is not as declared."""
    problems = topic_problems(settings)
    alike: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        alike.setdefault((problem.what, problem.fix), []).append(problem.topic)
    for (what, fix), names in alike.items():
        subject = names[0] if len(names) == 1 else f"{len(names)} topics"
        yield error("topics", subject, what if len(names) == 1 else f"{what}: {', '.join(names)}", fix)
    declared = topics(settings.rules)
    good = len(declared) - len({problem.topic for problem in problems})
    if good:
        yield fine("topics", "declared", f"{good} of {len(declared)} topics are as declared")


def feature_findings(settings: Settings) -> Iterator[Finding]:
    """Yield whether the features of this code are announced, and whether a proposal waits for ever."""
    if not partition_counts(settings, [OPS_MODEL]):
        yield error("features", OPS_MODEL, "is missing, so nothing is announced", APPLY)
        return
    log = AnnouncementLog(read_topic(settings, OPS_MODEL))
    for proposal in log.open:
        age = time.time() - proposal.written_at
        if age > UNDECIDED_SECONDS:
            name = proposal.announcement.feature_set_id
            yield error(
                "features", name, f"proposed {age:.0f} s ago and not decided: rows stop at its border", _ANNOUNCE
            )
    catalogue = Catalogue.discover(settings.rules)
    try:
        missing = unannounced(catalogue, log)
    except StateError:
        yield error("features", "feature set", "none is announced: featurize does not start", _ANNOUNCE)
        return
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        yield warning("features", missing[0], f"it{more} is not announced, and not made", _ANNOUNCE)
    else:
        yield fine("features", log.announced[-1].feature_set_id, f"announced, {len(catalogue.versions)} features")
