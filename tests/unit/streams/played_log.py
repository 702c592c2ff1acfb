"""Topics played by lists, for what reads them through a LogReader."""

from streams.stage import Message


class PlayedLog:
    """Topics of four partitions whose only records are in `partition`; counts what is read."""

    def __init__(self, partition, **records):
        self.partition, self.records, self.low, self.been_read = partition, records, {}, 0

    def read(self, topic, partition, start, stop=None):
        assert partition == self.partition
        low, high = self.bounds(topic, partition)
        for offset in range(max(start, low), high if stop is None else min(stop, high)):
            self.been_read += 1
            yield Message(topic, partition, offset, None, {}, self.records[topic][offset], 0)

    def bounds(self, topic, partition):
        return (self.low.get(topic, 0), len(self.records[topic])) if partition == self.partition else (0, 0)

    def partitions(self, topic):
        return 4 if topic in self.records else 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
