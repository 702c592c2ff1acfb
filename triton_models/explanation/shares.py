"""Shares of modalities in a forecast, from the values (2^M, H) of all coalitions: exact, with sign."""

from math import factorial

import numpy as np
import numpy.typing as npt

from triton_models.explanation.coalitions import all_coalitions

Floats = npt.NDArray[np.float64]


def shapley(table: Floats) -> Floats:
    """Return the Shapley values (M, H) (Shapley 1953): they sum to what all modalities together add.

    >>> shapley(np.array([[0.0], [1.0], [2.0], [5.0]])).tolist()
    [[2.0], [3.0]]
    """
    modalities = players(table)
    present = all_coalitions(modalities)
    others = present.sum(-1)
    shares = []
    for player in range(modalities):
        without = np.flatnonzero(~present[:, player])
        gains = table[without | 1 << player] - table[without]  # (2^(M - 1), H)
        weights = [factorial(size) * factorial(modalities - size - 1) for size in others[without].tolist()]
        shares.append((np.array(weights)[:, None] * gains).sum(0) / factorial(modalities))
    return np.stack(shares)


def leave_one_out(table: Floats) -> Floats:
    """Return (M, H): what the forecast loses with a modality, while all others stay."""
    everything = len(table) - 1
    return np.stack([table[everything] - table[everything ^ 1 << player] for player in range(players(table))])


def players(table: Floats) -> int:
    """Return M, of which a table has 2^M rows."""
    return len(table).bit_length() - 1
