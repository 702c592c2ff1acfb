"""Which instruments are quoted in dollars, so that their turnovers and thresholds mean the same."""

import numpy as np

DOLLARS = ("USD", "USDT", "USDC", "FDUSD", "BUSD", "TUSD", "DAI")


def in_dollars(instrument_id):
    """Whether each instrument, written as venue:BASE-QUOTE with more behind it, is quoted in one of the dollars."""
    found = np.strings.endswith(instrument_id, "-USD")
    for quote in DOLLARS:
        ends = np.strings.endswith(instrument_id, f"-{quote}")
        found = found | ends | (np.strings.find(instrument_id, f"-{quote}-") >= 0)
    return found


def where_in_dollars(values, instrument_id):
    """Values of instruments that are quoted in dollars, NaN for the others."""
    return np.where(in_dollars(instrument_id), values, np.nan)
