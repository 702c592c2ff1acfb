"""A tile's bits depend on its own events alone: not on its neighbours, its place or memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.segments import Segments

# Long segments reach the unrolled (8), pairwise (128) and vector paths of numpy's loops.
LENGTHS = st.sampled_from([0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 127, 128, 129, 130, 257, 1000])
NEIGHBOURS = st.lists(LENGTHS, max_size=4)

FUNCTIONS = {
    "sum": lambda x: x.sum(),
    "product": lambda x: (x / 2).prod(),
    "extremes": lambda x: x.max() - x.min(),
    "deviation": lambda x: x.std(),
    "mask": lambda x: x[x > 1.5].sum(),
    "steps": lambda x: np.square(np.diff(x)).sum(),
    "powers": lambda x: (x**1.5).sum() + (x**3).sum() + (x**2).sum(),
    "log": lambda x: np.log(x).sum() + np.log1p(x).sum() + np.log2(x).sum() + np.log10(x).sum(),
    "exp": lambda x: np.exp(x).sum() + np.expm1(x).sum() + np.exp2(x).sum(),
    "circle": lambda x: np.sin(x).sum() + np.cos(x).sum() + np.arctan(x).sum() + np.arctan2(x, 2.0).sum(),
    "hyperbolic": lambda x: np.tanh(x).sum() + np.sinh(x).sum() + np.arcsinh(x).sum(),
    "roots": lambda x: np.sqrt(x).sum() + np.cbrt(x).sum(),
}


def events(count, seed):
    return np.abs(np.random.default_rng(seed).standard_normal(count)) * 3 + 1e-3


def unaligned(values):
    held = np.empty(values.nbytes + 1, np.uint8)[1:].view(np.float64)
    held[:] = values
    return held


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=25, deadline=None)
@given(before=NEIGHBOURS, length=LENGTHS, after=NEIGHBOURS, seed=st.integers(0, 2**16))
def test_a_tile_alone_has_the_bits_that_it_has_among_others(name, before, length, after, seed):
    lengths = [*before, length, *after]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values, own = events(offsets[-1], seed), events(length, seed + 1)
    place = len(before)
    values[offsets[place] : offsets[place + 1]] = own
    function = FUNCTIONS[name]
    alone = function(Segments(own, np.array([0, length])))
    for block in (values, unaligned(values)):
        found = function(Segments(block, offsets))[place : place + 1]
        assert found.tobytes() == alone.tobytes() or np.isnan([found, alone]).all()


@given(values=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=60), seed=st.integers(0, 2**16))
def test_elementwise_functions_give_a_value_the_same_bits_wherever_it_stands(values, seed):
    # The fact about numpy's vector loops that `Segments` and features rest on.
    order = np.random.default_rng(seed).permutation(len(values))
    x = np.array(values)
    for function in (np.log, np.exp, np.sqrt, np.tanh, np.sin, np.log1p, np.cbrt, np.square, lambda x: x**1.5):
        assert function(x)[order].tobytes() == function(x[order]).tobytes()
