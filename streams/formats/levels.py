"""Levels of books as venues send them, bounded."""

from typing import Annotated

from msgspec import Meta

from streams.formats.fields import NonNegative, Positive

MAX_LEVELS = 100_000
"""What a side of a book may hold in one frame."""

NumberLevels = Annotated[list[tuple[Positive, NonNegative]], Meta(max_length=MAX_LEVELS)]
"""Price and size as numbers; size zero removes a level."""

Digits = Annotated[str, Meta(pattern=r"^[0-9]{1,20}(\.[0-9]{1,20})?\Z")]
"""A price or a size as the venue wrote it: no sign, no exponent."""
TextLevels = Annotated[list[tuple[Digits, Digits]], Meta(max_length=MAX_LEVELS)]
"""Price and size as the venue wrote them, for checksums."""
