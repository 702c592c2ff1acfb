"""Checkpoints of raw partitions in one compacted topic: whole, or in chunks that a manifest lists. Pure.

Books make a checkpoint larger than one message may be, and a process may die, or be fenced, between
any two records. So an owner writes its chunks first and its manifest, which lists them with their
digests, when Kafka has acknowledged them; a small state stands in the manifest itself. Every ownership
has a name of its own and an epoch one above what it found, so that one that was fenced and still writes
mixes with nobody. What counts is the complete manifest with the greatest (epoch, number).

Keys: `topic/partition/owner` of a manifest, `topic/partition/owner/number/index` of a chunk.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from schemas import StateError
from schemas.topics import INGEST_CHECKPOINT

CHUNK_BYTES = 512 << 10
ANEW = f"delete {INGEST_CHECKPOINT} and all inner topics and run `foreshock topics apply` to begin anew"
"""What to do where a checkpoint is lost."""

Place = tuple[str, int]
"""A raw topic and a partition."""

Write = tuple[bytes, bytes | None]
"""Key and value of a record; None deletes."""

_OLD_KEY, _MANIFEST_KEY, _CHUNK_KEY = 2, 3, 5
"""Parts of a key; `topic/partition` alone is a whole state, as it was written before there were chunks."""


class _Chunk(msgspec.Struct, frozen=True, array_like=True):
    key: bytes
    digest: bytes


class _Manifest(msgspec.Struct, frozen=True, array_like=True):
    epoch: int
    number: int
    whole: bytes
    """The state, where it is small; else its chunks."""
    chunks: list[_Chunk]


class Found(NamedTuple):
    """The last complete checkpoint of a raw partition, and all keys that the topic holds of it."""

    blob: bytes
    epoch: int
    keys: list[bytes]


class Generation(NamedTuple):
    """The records of one checkpoint, to write in this order, each part when Kafka has acknowledged the last."""

    chunks: list[Write]
    manifest: list[Write]
    """When it is acknowledged, the checkpoint is saved."""
    stale: list[Write]
    """Deletes what the checkpoint replaces; may be lost."""


class Owner:
    """Turns the states of one raw partition into records, from its assignment until its revocation.

    `name`: one that no other ownership, past or future, has.
    """

    def __init__(self, place: Place, name: str, found: Found | None = None) -> None:
        self._key = b"%b/%b" % (_key(place), name.encode())
        self._epoch = found.epoch + 1 if found else 1
        self._number = 0
        self._keys = list(found.keys) if found else []

    def generation(self, blob: bytes) -> "Generation":
        """Return the records of the next checkpoint."""
        self._number += 1
        chunks: list[Write] = []
        if len(blob) > CHUNK_BYTES:
            pieces = [blob[start : start + CHUNK_BYTES] for start in range(0, len(blob), CHUNK_BYTES)]
            chunks = [(b"%b/%d/%d" % (self._key, self._number, index), piece) for index, piece in enumerate(pieces)]
        listed = [_Chunk(key, _digest(value or b"")) for key, value in chunks]
        manifest = _Manifest(self._epoch, self._number, b"" if chunks else blob, listed)
        live = [self._key, *(key for key, _ in chunks)]
        # Manifests first, so that none is left that lists what is gone.
        stale = sorted(set(self._keys) - set(live), key=lambda key: (key.count(b"/"), key))
        self._keys = live
        return Generation(chunks, [(self._key, msgspec.msgpack.encode(manifest))], [(key, None) for key in stale])


def last_checkpoints(records: Iterable[tuple[bytes | None, bytes | None]]) -> dict[Place, Found]:
    """Return the checkpoint of every raw partition from the records of the topic, in order of offsets.

    Raises StateError where there are checkpoints of a partition and none is complete.
    """
    values: dict[bytes, bytes] = {}
    for key, value in records:
        if key is not None and value is not None:
            values[key] = value
        elif key is not None:
            values.pop(key, None)
    places: dict[Place, list[bytes]] = {}
    for key in values:
        place = _place(key)
        if place is not None:
            places.setdefault(place, []).append(key)
    return {place: _found(place, keys, values) for place, keys in places.items()}


def _found(place: Place, keys: list[bytes], values: dict[bytes, bytes]) -> Found:
    manifests = [_manifest(values[key]) for key in keys if key.count(b"/") == _MANIFEST_KEY - 1]
    manifests += [_Manifest(0, 0, values[key], []) for key in keys if key.count(b"/") == _OLD_KEY - 1]
    for manifest in sorted(manifests, key=lambda each: (each.epoch, each.number), reverse=True):
        blob = _joined(manifest, values)
        if blob is not None:
            return Found(blob, max(each.epoch for each in manifests), keys)
    if not manifests:
        return Found(b"", 0, keys)
    raise StateError(f"checkpoint of {place[0]}[{place[1]}]: none of {len(manifests)} is complete; {ANEW}")


def _manifest(value: bytes) -> _Manifest:
    try:
        return msgspec.msgpack.decode(value, type=_Manifest)
    except msgspec.MsgspecError as error:
        raise StateError(f"{INGEST_CHECKPOINT}: a manifest cannot be read: {error}; {ANEW}") from None


def _joined(manifest: _Manifest, values: dict[bytes, bytes]) -> bytes | None:
    """Return the state of a manifest, None where a chunk is missing or another."""
    pieces = [values.get(chunk.key, b"") for chunk in manifest.chunks]
    if any(_digest(piece) != chunk.digest for chunk, piece in zip(manifest.chunks, pieces, strict=True)):
        return None
    return manifest.whole or b"".join(pieces)


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def _key(place: Place) -> bytes:
    topic, partition = place
    return f"{topic}/{partition}".encode()


def _place(key: bytes) -> Place | None:
    """Return the raw partition that a key is of, None where it is no key of ours."""
    parts = key.split(b"/")
    if len(parts) not in {_OLD_KEY, _MANIFEST_KEY, _CHUNK_KEY} or not parts[1].isdigit():
        return None
    return parts[0].decode(errors="replace"), int(parts[1])
