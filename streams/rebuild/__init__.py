"""Forecasts computed again from their receipts, by the code that made them, and compared bit for bit.

Recomputed: the tensors from the rows by offset, each expert's own forecast (networks in this process, from
the bundles that the record names by hash), the combination, quantiles, volatility, status, quality, the
receipt's hash and offsets, and every name, id and time. Taken from the record, because a log may forget them: the
experts' weights, calibration's shifts, regime and rank (which is the uncertainty), the shape of the batch, that
Triton gave no answer, and why.
"""

from streams.rebuild.verdicts import Verdict

TAKEN = ("experts' weights", "shifts, regime and rank of calibration", "batch shape", "reason of a fallback")
"""What is read from the record, in words."""

__all__ = ["TAKEN", "Verdict"]
