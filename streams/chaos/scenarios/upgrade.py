"""Another release takes over the state and the records of this one, and gives them back."""

import io
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

from deploy.cache import CHECKOUT
from schemas.errors import StackError
from streams.chaos.live import row_messages
from streams.chaos.scenario import Trial, scenario
from streams.run import STAGES

BEFORE = "b3d9305"
"""The release before this one: the last commit without receipts that are computed again, replays and chaos runs."""
_SECONDS = 240
_QUICK_SECONDS = 90
_DONE_SECONDS = 240.0
_LAUNCH = """
import os
from dataclasses import fields
from streams.settings import Settings
known = {"FORESHOCK_" + each.name.upper() for each in fields(Settings)}
for name in [name for name in os.environ if name.startswith("FORESHOCK_") and name not in known]:
    del os.environ[name]
from streams.cli import main
main()
"""
"""Runs a release without the settings that it does not know: it refuses them, and rightly so."""
_PARTS = ("schemas", "featurestore", "triton_models", "streams", "deploy", "pyproject.toml")


@scenario("F22", "rolling upgrade from the release before and rollback to it, with live state", seeds=3, seconds=150)
def upgrade(trial: Trial) -> None:
    """Let the release before make the first third of the rows, this one the second, and the one before the last.

    Each takes over the group, the checkpoints and the records that the other left. Rows are compared with
    the backfill of this release, gaps are looked for by the invariants.
    """
    before = {"PYTHONPATH": str(_released(trial.settings.state_dir / "before")), "PYTHONSAFEPATH": "1"}
    seconds = _QUICK_SECONDS if trial.quick else _SECONDS
    trial.fill(trial.market(seconds))
    messages = seconds * trial.settings.partitions
    told = []
    for share, environment in ((1 / 3, before), (2 / 3, {}), (1, before)):
        trial.say(f"{'the release before' if environment else 'this release'} up to {share:.0%} of the rows")
        commands = {stage: (sys.executable, "-c", _LAUNCH, stage) for stage in STAGES}
        with trial.running(environment=environment, commands=commands) as live:
            if share < 1:
                live.wait(partial(_has_rows, trial, share * messages), _DONE_SECONDS, f"{share:.0%} of the rows")
            else:
                live.wait_until_done(seconds=_DONE_SECONDS)
            told += live.said
            trial.require(row_messages(trial.settings) > 0, "no row is there")
    trial.require(not told, f"processes ended: {told}")
    logs, _ = trial.verify(with_earlier=True)
    # Only that release writes checkpoints that do not tell what they cover.
    trial.require(not all(each.resume for each in logs.covered), f"no checkpoint is of {BEFORE}: it did not run")


def _has_rows(trial: Trial, count: float) -> bool:
    return row_messages(trial.settings) >= count


def _released(folder: Path) -> Path:
    """Return a folder with the code of the release before; raises StackError where there is no history of it."""
    command = ["git", "-C", str(CHECKOUT), "archive", BEFORE, *_PARTS]
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own command line
    except OSError as error:
        raise StackError(f"git: {error}; F22 takes the release before from the history of a checkout") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise StackError(f"{CHECKOUT}: has no release {BEFORE} ({said}); F22 runs in a git checkout with its history")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder
