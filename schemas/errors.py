"""The errors of Foreshock: one short tree."""

from functools import partial
from typing import Any


class ForeshockError(Exception):
    """Anything that Foreshock reports; its text says where, what was received and what to do."""


class DecodeError(ForeshockError):
    """Bytes that are not what their topic or format promises.

    `where` names the bytes (``raw.exchange.v1[2]@1842``), `path` the field in them (``$.data.p``),
    `problem` what was expected and what was found.

    >>> print(DecodeError("expected a positive number, got -1.0", path="$.p", where="raw.exchange.v1[2]@1842"))
    raw.exchange.v1[2]@1842 $.p: expected a positive number, got -1.0
    """

    def __init__(self, problem: str, *, path: str = "$", where: str = "") -> None:
        self.problem = problem
        self.path = path
        self.where = where
        super().__init__(problem, path, where)

    def __str__(self) -> str:
        return f"{self.where} {self.path}: {self.problem}".lstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        """Let processes hand it to one another."""
        return partial(DecodeError, path=self.path, where=self.where), (self.problem,)

    def at(self, where: str) -> "DecodeError":
        """Return the same error with the place of its bytes."""
        return DecodeError(self.problem, path=self.path, where=where)


class FeatureError(ForeshockError):
    """A feature or tile that cannot be what it asks to be."""


class SettingsError(ForeshockError):
    """A setting with a value that cannot be used."""


class InferenceError(ForeshockError):
    """A model that gave no usable answer."""


class StateError(ForeshockError):
    """State, a checkpoint or a topic that does not fit this worker."""


class StackError(ForeshockError):
    """A part of the local stack that cannot be fetched, started or stopped."""
