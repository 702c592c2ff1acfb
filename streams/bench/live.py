"""Traffic sent at the pace of the clock, as feed handlers would."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from confluent_kafka import Producer

from schemas.instruments import partition_of_key
from schemas.rules import SECOND_NS
from streams.bench.ground import Ground
from streams.bench.traffic import Traffic
from streams.kafka import producer_config

_LEAD_NS = SECOND_NS // 2
_SLEEP_SECONDS = 0.0005
_GATHER_MS = 5.0
"""For so long a feed handler gathers frames: one request a frame would be a test of the broker."""


class Sender(threading.Thread):
    """Sends each frame at its receive time, from the next whole second on, until stopped."""

    def __init__(self, place: Ground, traffic: Traffic) -> None:
        super().__init__(daemon=True)
        self.start_ns = (time.time_ns() + _LEAD_NS) // SECOND_NS * SECOND_NS + SECOND_NS
        self.sent = 0
        self.latest_ns = 0
        """The most that a frame was sent after its time."""
        self._traffic = traffic
        self._partitions = place.settings.raw_exchange_partitions
        self._producer = Producer(producer_config(place.settings, "foreshock-bench") | {"linger.ms": _GATHER_MS})
        self._ending = threading.Event()

    def run(self) -> None:
        """Send until stopped."""
        for message in self._traffic.frames(self.start_ns):
            while (left_ns := message.receive_time_ns - time.time_ns()) > 0:
                self._producer.poll(0)
                time.sleep(min(left_ns / 1e9, _SLEEP_SECONDS))
            if self._ending.is_set():
                break
            self.latest_ns = max(self.latest_ns, -left_ns)
            self._producer.produce(
                message.topic,
                message.value,
                key=message.key,
                partition=partition_of_key(message.key, self._partitions),
                headers=list(message.headers().items()),
            )
            self.sent += 1
        self._producer.flush(10.0)

    def stop(self) -> None:
        """End, and wait for it."""
        self._ending.set()
        self.join()


@contextmanager
def sending(place: Ground, traffic: Traffic) -> Iterator[Sender]:
    """Send traffic until the block ends."""
    sender = Sender(place, traffic)
    sender.start()
    try:
        yield sender
    finally:
        sender.stop()


def all_partitions_active(traffic: Traffic, partitions: int) -> bool:
    """Return whether the traffic reaches every raw partition."""
    first = islice(traffic.frames(), traffic.per_second)
    return len({partition_of_key(message.key, partitions) for message in first}) == partitions
