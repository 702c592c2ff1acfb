"""Rows recomputed from the canonical log by a second, independent reader, and compared bit for bit."""

from streams.parity.checker import Checker, Verdict
from streams.parity.process import check_once, run_parity

__all__ = ["Checker", "Verdict", "check_once", "run_parity"]
