"""Inputs made of seeds: bits, bytes, numbers, brackets, pieces of one another. Without atheris, the engine."""

import random
from collections.abc import Iterator, Sequence

STRANGE = (
    *(b"-1", b"0", b"1e999", b"-0.0", b"NaN", b"null", b"true", b'""', b"[]", b"{}", b"[[]]", b"9" * 400),
    *(
        b"9223372036854775808",
        b"4294967296",
        b"5e-324",
        b"\x00",
        b"\xff\xff\xff\xff",
        b"\xff" * 8,
        b"\\ud800",
        b"\x1f\x8b",
    ),
    *(b"[" * 2_000, b'{"a":' * 500, b"9" * 5_000),
)
_SEPARATORS = b',:[]{}"<>/@'


def mutated(seeds: Sequence[bytes], seed: int, most_bytes: int) -> Iterator[bytes]:
    """Yield changed seeds without end, the same for the same seed."""
    chance = random.Random(seed)
    while True:
        value = chance.choice(seeds) if seeds else b""
        for _ in range(chance.randrange(1, 6)):
            value = _changed(value, chance, seeds)
        yield value[:most_bytes]


def _changed(value: bytes, chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    place = chance.randrange(len(value) + 1)
    before, rest = value[:place], value[place:]
    kind = chance.randrange(7)
    if kind == 0 and rest:
        return before + bytes([rest[0] ^ 1 << chance.randrange(8)]) + rest[1:]
    if kind == 1:
        return before + chance.choice(STRANGE) + rest
    if kind in {2, 3}:
        other = chance.choice(seeds) if seeds and kind == 3 else rest  # noqa: PLR2004
        return before + other[chance.randrange(len(other) + 1) :]
    if kind in {4, 5}:
        return before + rest[: chance.randrange(1, 64)] + (rest if kind == 4 else b"")  # noqa: PLR2004
    return _token_replaced(value, place, chance)


def _token_replaced(value: bytes, place: int, chance: random.Random) -> bytes:
    """Return the value with what stands between two separators around a place replaced."""
    start = place
    while start > 0 and value[start - 1] not in _SEPARATORS:
        start -= 1
    end = place
    while end < len(value) and value[end] not in _SEPARATORS:
        end += 1
    return value[:start] + chance.choice(STRANGE) + value[end:]
