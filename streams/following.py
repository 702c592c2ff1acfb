"""How far long work has come: bars on a terminal, lines where it is piped."""

import re
import time
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TaskID

_LINE_SECONDS = 10.0
_NUMBER = re.compile(r"\d+")


class Followed(Progress):
    """Progress on stderr; piped, a line for each new description and every ten seconds."""

    def __init__(self, *columns: str | ProgressColumn, console: Console | None = None) -> None:
        super().__init__(*columns, console=console or Console(stderr=True))
        self._said: dict[TaskID, tuple[str, float]] = {}

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Change a task, as rich does."""
        super().update(task_id, **changes)
        self._say(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Count on, as rich does."""
        super().advance(task_id, advance)
        self._say(task_id)

    def _say(self, task_id: TaskID) -> None:
        if self.console.is_terminal:
            return
        task, now = self._tasks[task_id], time.monotonic()
        said, at = self._said.get(task_id, ("", float("-inf")))
        what = _NUMBER.sub("", task.description)  # a count in it is no other thing
        if what == said and now - at < _LINE_SECONDS:
            return
        self._said[task_id] = what, now
        of = "" if task.total is None else f" of {task.total:,.0f}"
        done = f": {task.completed:,.0f}{of}" if task.completed else ""
        self.console.file.write(f"{task.description}{done}\n")
        self.console.file.flush()
