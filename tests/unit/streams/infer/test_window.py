"""Tensors of the stream are those of training."""

import numpy as np

from schemas.rows import AGED, RowHeader, Rows
from schemas.rules import SECOND_NS
from streams.infer.models import Shape
from streams.infer.window import Window
from triton_models.dataset import Pinned, RowTable

FEATURES, MODALITIES = ("a", "b", "c"), ("clock", "trade")
T, NAMES = 5, ("x:A-B", "x:C-D", "x:E-F")


def test_the_window_of_a_stream_is_that_of_training():
    # rows with masked values, instruments that come and go, and gaps longer than the window
    rng = np.random.default_rng(1)
    window = Window(Shape(FEATURES, MODALITIES, T, SECOND_NS))
    seconds = np.cumsum(rng.choice([1, 1, 1, 2, 7], 60)) + 1_000
    flat, streamed = [], []
    for second in seconds:
        names = tuple(name for name in NAMES if rng.random() < 0.7) or NAMES[:1]
        values = rng.normal(size=(len(names), 4))
        values[rng.random(values.shape) < 0.2] = np.nan
        ages = np.where(rng.random((len(names), len(AGED))) < 0.3, np.nan, 2.0)
        header = RowHeader(int(second) * SECOND_NS, 0, "r", "f")
        bits = np.zeros(len(names), np.uint32)
        rows = Rows(header, names, ("c", "a", "other", "b"), values, ages, bits)
        assert window.push(rows, int(second))
        assert not window.push(rows, int(second))
        tensors = window.tensors(names)
        streamed += [tuple(part[place] for part in tensors[:3]) for place in range(len(names))]
        flat += [(names[i], second, values[i, [1, 3, 0]], ages[i]) for i in range(len(names))]
    table = RowTable(
        [row[0] for row in flat],
        np.array([row[1] * SECOND_NS for row in flat], np.int64),
        np.array([row[2] for row in flat], np.float32),
        np.array([[0.0, np.nan_to_num(row[3][AGED.index("trade")], nan=-1.0)] for row in flat], np.float32),
        Pinned(FEATURES, MODALITIES, (0, 1, 1), feature_set_id="f"),
        row_interval_ns=SECOND_NS,
    )
    place = {(table.instruments[table.instrument[i]], int(table.row_time_ns[i])): i for i in range(len(table))}
    rows = np.array([place[name, int(second) * SECOND_NS] for name, second, *_ in flat])
    for wanted, got in zip(table.windows(rows, T), zip(*streamed, strict=True), strict=True):
        np.testing.assert_array_equal(np.stack(got), wanted)
