"""What a run needs before its first record: topics, an announced feature set, a producer."""

from typing import cast

from confluent_kafka import Producer

from featurestore.catalogue import Catalogue
from schemas.forecasts import Announcement
from streams.announcements import announce
from streams.kafka import LOGGER, create_topics, producer_config
from streams.settings import Settings
from streams.sources.replay import Producer as RawProducer


def prepare(settings: Settings) -> Announcement:
    """Create missing topics and announce the feature set of this code, where it is not the last one."""
    create_topics(settings)
    return announce(settings, Catalogue.discover(settings.rules))


def raw_producer(settings: Settings) -> RawProducer:
    """Return the producer of the raw topics."""
    return cast("RawProducer", Producer(producer_config(settings, "foreshock-replay"), logger=LOGGER))
