"""A circuit breaker: after failures in a row nothing is asked any more, until a canary got an answer."""

from enum import IntEnum


class State(IntEnum):
    """Values of the metric `breaker_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """Opens after `failures` in a row of one model, or when one has failed for `patience_seconds`.

    It starts open: a model that has never answered is not asked for forecasts. Time is given by
    the caller, in seconds of any clock that does not go back.

    >>> breaker = Breaker(failures=2, patience_seconds=2.0)
    >>> breaker.close()
    >>> breaker.fail("lstm", 0.0); breaker.state.name
    'CLOSED'
    >>> breaker.fail("lstm", 0.1); breaker.state.name
    'OPEN'
    """

    def __init__(self, failures: int, patience_seconds: float) -> None:
        self.failures = failures
        self.patience_seconds = patience_seconds
        self.state = State.OPEN
        self._streaks: dict[str, tuple[int, float]] = {}

    @property
    def is_closed(self) -> bool:
        """Whether requests may be sent."""
        return self.state is State.CLOSED

    def succeed(self, model: str) -> None:
        """Take in that `model` gave a usable answer; another model's failures stay counted."""
        self._streaks.pop(model, None)

    def fail(self, model: str, now: float) -> None:
        """Take in that `model` gave none."""
        count, since = self._streaks.get(model, (0, now))
        self._streaks[model] = count + 1, since
        if count + 1 >= self.failures or now - since >= self.patience_seconds:
            self.state = State.OPEN

    def probe(self) -> None:
        """Begin a canary."""
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN

    def open(self) -> None:
        """Take in that a canary failed."""
        self.state = State.OPEN

    def close(self) -> None:
        """Take in that every model answered its canary."""
        self.state = State.CLOSED
        self._streaks.clear()
