from schemas.metrics import OFFSET_LAG, OFFSET_LAG_SECONDS, READ_OFFSET
from streams.lag import Lag
from streams.metrics_server import Metrics

PLACE = ("feature.row.v1", 2)
LABELS = {"topic": "feature.row.v1", "partition": "2"}


class Reader:
    def __init__(self):
        self.now = 100.0
        self.metrics = Metrics()
        self.lag = Lag(self.metrics, lambda: self.now)

    def look(self, at, position, end):
        self.now = at
        self.lag.tell(PLACE, position, end)
        return self.metrics.value(OFFSET_LAG_SECONDS, **LABELS)


def test_the_oldest_message_not_read_tells_the_seconds():
    # at     100   105   110   115   120
    # end     10    20    20    30    30
    # read    10    10    10    20    30
    reader = Reader()
    assert [reader.look(*look) for look in ((100, 10, 10), (105, 10, 20), (110, 10, 20), (115, 20, 30))] == [0, 0, 5, 0]
    assert reader.look(119, 29, 30) == 4
    assert reader.look(120, 30, 30) == 0
    assert reader.metrics.value(OFFSET_LAG, **LABELS) == 0
    assert reader.metrics.value(READ_OFFSET, **LABELS) == 30


def test_a_backlog_of_any_length_is_remembered_by_few_looks():
    reader = Reader()
    for second in range(5_000):
        reader.look(second, 0, second + 1)
    assert reader.look(5_000, 0, 5_001) == 5_000
    assert len(reader.lag._looks[PLACE]) <= 513
    assert reader.look(5_001, 4_000, 5_001) >= 990


def test_nothing_is_told_of_a_place_that_is_forgotten():
    reader = Reader()
    reader.look(100, 0, 5)
    reader.lag.forget(PLACE)
    for metric in (READ_OFFSET, OFFSET_LAG, OFFSET_LAG_SECONDS):
        assert reader.metrics.registry.get_sample_value(metric.name, LABELS) is None
    assert reader.look(200, 0, 5) == 0
