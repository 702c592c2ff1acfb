"""A thread that looks at something again and again while a block runs."""

import threading
from abc import ABC, abstractmethod
from typing import Self

from schemas.errors import StackError


class Looking(ABC):
    """Calls `look` every `every_seconds` until its block ends, or until a look fails: the end of the block says so."""

    def __init__(self, every_seconds: float) -> None:
        self._every = every_seconds
        self._error: Exception | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @abstractmethod
    def look(self) -> None:
        """Look once."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        if self._error is not None:
            raise StackError(f"{type(self).__name__} saw nothing any more: {self._error!r}") from self._error

    def _run(self) -> None:
        while not self._ending.wait(self._every):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - it is raised when the block ends
                self._error = error
                return
