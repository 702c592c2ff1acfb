"""A text that is never shown: not in a log, an error, a traceback or a list of settings."""

_SHOWN = "********"


class Secret:
    """A secret text; only `reveal` gives it away.

    >>> password = Secret("hunter2")
    >>> f"{password} {password!r}", password.reveal(), bool(Secret())
    ('******** ********', 'hunter2', False)
    """

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __str__(self) -> str:
        return _SHOWN if self._text else ""

    __repr__ = __str__

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)
