"""Honest evaluation: scores, tests of equal skill, panels, walk-forward; see the README."""
