"""Checkpoints in a compacted topic: chunks first, the manifest that lists them last.

A checkpoint larger than one message is several records, and a process may die, or be fenced,
between any two of them. So each chunk's key names the process and the number of the generation
that wrote it, and a manifest, one per process, lists the chunks of its last complete generation
with their digests. What a reader may trust follows from that alone: the complete manifest with the
greatest (epoch, number). Every owner of a partition is one epoch above the one it took over from,
so a zombie that still writes, under whatever number, is below its successor and mixes with nobody.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import msgspec

from schemas.errors import StateError

CHUNK_BYTES = 512 << 10
_MANIFEST = b"manifest"
_ANEW = "delete the stage's checkpoint topic and run `foreshock topics apply` to start from the log's beginning"


class CheckpointLog(Protocol):
    """The table of a stage: what its changelog said, and a way to add to it."""

    def records(self, partition: int) -> Mapping[bytes, bytes]:
        """Return the records of a partition that are not deleted."""

    async def write(self, partition: int, key: bytes, value: bytes | None) -> None:
        """Write one record (None deletes) and wait until Kafka acknowledged it."""


class _Chunk(msgspec.Struct, frozen=True, array_like=True):
    key: str
    digest: str


class _Manifest(msgspec.Struct, frozen=True):
    """`resume`: per input topic, where reading goes on after this checkpoint; for people and for the verifier."""

    epoch: int
    number: int
    chunks: list[_Chunk]
    resume: dict[str, int] = {}


class CheckpointStore:
    """Saves and loads the checkpoints of the partitions of one process.

    `process`: a name that no other process, past or future, has.
    """

    def __init__(self, log: CheckpointLog, process: str) -> None:
        self._log = log
        self._process = process
        self._number = 0
        self._epochs: dict[int, int] = {}
        self._last: dict[int, list[_Chunk]] = {}

    def load(self, partition: int) -> bytes | None:
        """Return the last checkpoint of a partition and become its owner; None where there is none.

        Raises StateError when there are checkpoints but none is complete.
        """
        records = self._log.records(partition)
        manifests = sorted(_manifests(partition, records), key=lambda each: (each.epoch, each.number), reverse=True)
        self._last.pop(partition, None)
        self._epochs[partition] = manifests[0].epoch + 1 if manifests else 1
        for manifest in manifests:
            blob = _joined(manifest, records)
            if blob is not None:
                return blob
        if manifests:
            raise StateError(f"checkpoint of partition {partition}: none of {len(manifests)} is complete; {_ANEW}")
        return None

    async def save(
        self,
        partition: int,
        blob: bytes,
        check: Callable[[], None] = lambda: None,
        resume: Mapping[str, int] | None = None,
    ) -> None:
        """Write a checkpoint; when this returns, Kafka has acknowledged all of it.

        `check` is called before every step and raises where the partition is no longer ours. `resume`: where
        reading goes on after it, which the manifest tells.
        """
        self._number += 1
        chunks = self._chunks(partition, blob)
        known = {chunk.key for chunk in self._last.get(partition, [])}
        fresh = [(chunk, piece) for chunk, piece in chunks if chunk.key not in known]
        check()
        await asyncio.gather(*(self._log.write(partition, chunk.key.encode(), piece) for chunk, piece in fresh))
        check()
        listed = [chunk for chunk, _ in chunks]
        manifest = _Manifest(self._epochs.setdefault(partition, 1), self._number, listed, dict(resume or {}))
        await self._log.write(partition, self._manifest_key(partition), msgspec.json.encode(manifest))
        self._last[partition] = listed
        check()
        await self._delete_stale(partition)

    def _chunks(self, partition: int, blob: bytes) -> list[tuple[_Chunk, bytes]]:
        """Cut a checkpoint up; a piece that has not changed since the last generation keeps its key."""
        before = {chunk.digest: chunk for chunk in self._last.get(partition, [])}
        result = []
        for index, start in enumerate(range(0, max(len(blob), 1), CHUNK_BYTES)):
            piece = blob[start : start + CHUNK_BYTES]
            digest = hashlib.sha256(piece).hexdigest()
            key = f"{partition}/{self._process}/{self._number}/{index}"
            result.append((before.get(digest) or _Chunk(key, digest), piece))
        return result

    def _manifest_key(self, partition: int) -> bytes:
        return b"%d/%b/%b" % (partition, self._process.encode(), _MANIFEST)

    async def _delete_stale(self, partition: int) -> None:
        """Delete what the new generation does not need: older generations and those of older owners."""
        live = {chunk.key.encode() for chunk in self._last[partition]} | {self._manifest_key(partition)}
        stale = [key for key in self._log.records(partition) if key not in live]
        # Manifests go first, so that none is left that lists deleted chunks.
        for manifests in (True, False):
            keys = [key for key in stale if key.endswith(_MANIFEST) is manifests]
            await asyncio.gather(*(self._log.write(partition, key, None) for key in keys))


def manifests_written(key: bytes | None, value: bytes | None) -> Iterator[tuple[int, Mapping[str, int]]]:
    """Yield the partition and the resume offsets that a record of a checkpoint topic tells, if it is a manifest."""
    if key is not None and value is not None and key.endswith(_MANIFEST):
        partition = int(key.split(b"/", 1)[0])
        for manifest in _manifests(partition, {key: value}):
            yield partition, manifest.resume


def _manifests(partition: int, records: Mapping[bytes, bytes]) -> list[_Manifest]:
    try:
        return [msgspec.json.decode(value, type=_Manifest) for key, value in records.items() if key.endswith(_MANIFEST)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateError(f"checkpoint of partition {partition}: unreadable manifest: {error}; {_ANEW}") from None


def _joined(manifest: _Manifest, records: Mapping[bytes, bytes]) -> bytes | None:
    """Return the checkpoint that a manifest lists, or None where a chunk is missing or another."""
    pieces = [records.get(chunk.key.encode()) for chunk in manifest.chunks]
    for chunk, piece in zip(manifest.chunks, pieces, strict=True):
        if piece is None or hashlib.sha256(piece).hexdigest() != chunk.digest:
            return None
    return b"".join(piece for piece in pieces if piece is not None)
