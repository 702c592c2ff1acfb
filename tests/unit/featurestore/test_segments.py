import numpy as np
import pytest

from featurestore.segments import Segments

LENGTHS = (3, 0, 1, 2, 150, 9, 17, 0, 33)
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)])
EVENTS = np.random.default_rng(7).normal(1.0, 2.0, OFFSETS[-1])
OTHERS = np.random.default_rng(8).normal(5.0, 1.0, OFFSETS[-1])
EMPTY_IS_NAN = {"first", "last", "least", "greatest", "mean", "deviation", "spread of means", "log ratio", "fmax"}
EMPTY_IS_NAN |= {"mean of what is known"}

FUNCTIONS = {
    "sum": lambda x, _: x.sum(),
    "function sum": lambda x, _: np.sum(x),
    "product": lambda x, y: np.prod(x / y),
    "size": lambda x, _: x.size,
    "first": lambda x, _: x[0],
    "last": lambda x, _: x[-1],
    "least": lambda x, _: np.min(x),
    "greatest": lambda x, _: x.max(),
    "fmax": lambda x, _: np.fmax.reduce(x),
    "mean": lambda x, y: (x * y).mean(),
    "deviation": lambda x, _: np.std(x),
    "spread of means": lambda x, _: np.abs(x - x.mean()).mean(),
    "masked": lambda x, y: y[x > 1].sum(),
    "count": lambda x, _: (x > 1).sum(),
    "any": lambda x, _: 1.0 * (x > 4).any(),
    "all": lambda x, _: 1.0 * np.all(x > -1),
    "steps": lambda x, _: np.abs(np.diff(x)).sum(),
    "neighbours": lambda x, y: (x[1:] * y[:-1]).sum(),
    "middle": lambda x, _: x[1:-1].sum(),
    "where": lambda x, y: np.where(x > y, x, 0.0).sum(),
    "clipped": lambda x, _: np.clip(x, -1.0, 1.0).sum(),
    "log ratio": lambda _, y: np.log(y[-1] / y[0]),
    "in place of nothing": lambda x, _: np.nansum(np.where(x > 0, x, np.nan)),
    "mean of what is known": lambda x, _: np.nanmean(np.where(x > -3, x, np.nan)),
    "parts": lambda x, _: np.modf(x)[0].sum(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_many_tiles_at_once_give_what_each_gives_alone(name):
    function = FUNCTIONS[name]
    together = function(Segments(EVENTS, OFFSETS), Segments(OTHERS, OFFSETS))
    assert together.shape == (len(LENGTHS),)
    for i, length in enumerate(LENGTHS):
        tile = slice(OFFSETS[i], OFFSETS[i + 1])
        if length:
            np.testing.assert_allclose(together[i], function(EVENTS[tile], OTHERS[tile]), rtol=1e-12)
        else:
            assert np.isnan(together[i]) == (name in EMPTY_IS_NAN)


@pytest.mark.parametrize(
    "function",
    [
        len,
        float,
        list,
        np.asarray,
        lambda x: 1 if x[0] > 0 and x else 0,
        np.cumsum,
        np.sort,
        lambda x: x @ x,
        lambda x: x[::-1],
        lambda x: x[1:] * x,
        lambda x: x * np.ones(2),
        np.add.accumulate,
        lambda x: np.add(x, x, out=np.zeros(3)),
        lambda x: x.sum(axis=1),
    ],
)
def test_what_cannot_be_done_for_each_tile_alone_is_refused(function):
    with pytest.raises((TypeError, ValueError)):
        function(Segments(EVENTS, OFFSETS))


def test_texts_are_compared_and_not_added():
    kinds = Segments(np.array(["mint", "burn", "mint"]), np.array([0, 2, 3]))
    assert list((kinds == "mint").sum()) == [1.0, 1.0]
    with pytest.raises(TypeError, match="add of texts"):
        kinds.sum()


def test_a_block_may_start_and_end_anywhere_in_its_columns():
    assert list(Segments(np.arange(10.0), np.array([2, 4, 5])).sum()) == [5.0, 4.0]


def test_no_tiles_at_all():
    assert Segments(np.empty(0), np.array([0])).sum().shape == (0,)
