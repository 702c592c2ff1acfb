"""What a process does not pay for: each stage is a process of its own, started anew after every fault."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "pandas", "deltalake", "matplotlib", "lightgbm", "optuna", "scipy"}


@pytest.mark.parametrize(
    "module", ["streams.cli", "streams.ingest", "streams.featurize", "streams.infer", "streams.score"]
)
def test_no_stage_imports_what_only_some_commands_need(module):
    listing = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
