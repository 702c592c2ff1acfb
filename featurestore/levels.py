"""Levels of books as columns: what tile functions may read of a record that holds lists.

A list field ("bid_prices") is an array (events, LEVELS), best level first, NaN behind its end. Each
level is a column of its own ("bid_price_1" is the best bid).
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeAlias, get_type_hints

import numpy as np
from numpy.typing import NDArray

from schemas import Event

Levels: TypeAlias = NDArray[np.float64]

LEVELS = 10
"""Levels of each side that are read; those behind are not looked at."""


@cache
def list_fields(record: type[Event]) -> tuple[str, ...]:
    """Return the fields of a record that hold lists of numbers.

    >>> from schemas import Depth
    >>> list_fields(Depth)
    ('bid_prices', 'bid_sizes', 'ask_prices', 'ask_sizes')
    """
    hints = get_type_hints(record)
    return tuple(name for name in record.__struct_fields__ if hints[name] == list[float])


@cache
def level_columns(record: type[Event]) -> Mapping[str, tuple[str, int]]:
    """Return the list field and the place in it of each level column.

    >>> from schemas import Depth
    >>> level_columns(Depth)["ask_size_3"]
    ('ask_sizes', 2)
    """
    return {
        f"{name.removesuffix('s')}_{place + 1}": (name, place)
        for name in list_fields(record)
        for place in range(LEVELS)
    }


def level_matrix(values: NDArray[Any], starts: NDArray[Any], lengths: NDArray[Any]) -> Levels:
    """Return lists as one array (n, LEVELS): list i is values[starts[i]:starts[i] + lengths[i]].

    >>> level_matrix(np.array([1.0, 2.0, 3.0]), np.array([0, 2]), np.array([2, 1]))[:, :3]
    array([[ 1.,  2., nan],
           [ 3., nan, nan]])
    """
    places = np.arange(LEVELS)
    inside = places < lengths[:, None]
    found = np.full((len(starts), LEVELS), np.nan)
    found[inside] = values[(starts[:, None] + places)[inside]]
    return found
