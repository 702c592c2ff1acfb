"""The scenarios: one file for each kind of fault, found by being there."""
