"""Faults on purpose, and one verifier for all of them: `foreshock chaos`."""
