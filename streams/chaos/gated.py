"""A stage that waits at chosen records until it is told to go on: `python -m streams.chaos.gated STAGE FOLDER`.

A gate is a file of the folder, named by topic, partition and offset; what it holds says how the stage
waits. The stage goes on when the file is gone, and leaves one beside it when it has reached it.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from featurestore.catalogue import Catalogue
from streams.faust_app import run_stage
from streams.featurize import FeaturizeStage
from streams.infer import InferStage
from streams.score import ScoreStage
from streams.settings import Settings
from streams.stage import Message

AWAIT = "await"
"""The event loop runs on, as for an answer that does not come."""
BLOCK = "block"
"""Nothing of the event loop runs."""
_LOOK_SECONDS = 0.05


class Gate:
    """One record that a stage waits at."""

    def __init__(self, folder: Path, topic: str, partition: int, offset: int) -> None:
        self.topic, self.partition, self.offset = topic, partition, offset
        self._file = folder / f"{topic}@{partition}@{offset}"
        self._reached = self._file.with_name(f"{self._file.name}.reached")

    @property
    def is_reached(self) -> bool:
        """Whether a stage waits there, or has waited."""
        return self._reached.exists()

    @property
    def is_closed(self) -> bool:
        """Whether a stage would wait there."""
        return self._file.exists()

    def close(self, how: str = AWAIT) -> None:
        """Make the stage wait."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(how)

    def open(self) -> None:
        """Let the stage go on."""
        self._file.unlink()

    def forget(self) -> None:
        """Have a stage that comes anew be told of: the one that waited is gone."""
        self._reached.unlink(missing_ok=True)

    async def passed(self) -> None:
        """Wait in the way that the gate says."""
        if not self.is_closed:
            return
        how = self._file.read_text()
        self._reached.touch()
        while self.is_closed:
            if how == BLOCK:
                time.sleep(_LOOK_SECONDS)  # noqa: ASYNC251 - holding up the event loop is the fault
            else:
                await asyncio.sleep(_LOOK_SECONDS)


def command(stage: str, folder: Path) -> tuple[str, ...]:
    """Return the command that runs a stage with the gates of a folder."""
    return (sys.executable, "-m", __name__, stage, str(folder))


def gated(stage: Any, folder: Path) -> Any:
    """Make a stage wait at the gates of `folder` before it takes a record."""
    take = stage.process

    async def process(message: Message) -> None:
        await Gate(folder, message.topic, message.partition, message.offset).passed()
        await take(message)

    stage.process = process
    return stage


def _stage(name: str, settings: Settings) -> Any:
    if name == "featurize":
        return FeaturizeStage(Catalogue.discover(settings.rules))
    return {"infer": InferStage, "score": ScoreStage}[name](Path(settings.model_repository))


if __name__ == "__main__":
    here = Settings.from_environment()
    run_stage(here, gated(_stage(sys.argv[1], here), Path(sys.argv[2])))
