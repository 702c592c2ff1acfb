"""States that learn, as bytes: what `experts` and `conformal` have in common."""

from typing import ClassVar, Self

import msgspec

from schemas.errors import StateError


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of one cell; `what` names them in errors."""

    what: ClassVar[str] = "state"

    def encode(self) -> bytes:
        """Return this state as JSON; floats come back bit for bit."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the state from its JSON. Raises StateError for other bytes."""
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise StateError(f"{cls.what}: {error}") from None
