"""Keeping tables quick to read: small files into large ones, and files that nobody needs any more gone."""

import msgspec

from featurestore.store.location import Store
from featurestore.store.tables import TABLES

TARGET_BYTES = 128 << 20
KEPT_HOURS = 7 * 24
"""Files of old versions are kept so long: a read of one that takes longer than this would break."""


class Upkeep(msgspec.Struct, frozen=True):
    """What compaction did to one table."""

    table: str
    files_before: int
    files_after: int
    files_deleted: int


def compact(store: Store, *, kept_hours: int = KEPT_HOURS, target_bytes: int = TARGET_BYTES) -> list[Upkeep]:
    """Compact all tables, write a checkpoint of their logs, and delete files not used for `kept_hours`.

    Writers may go on meanwhile: compaction changes no record, and their commits do not conflict.
    """
    done = []
    for name in TABLES:
        table = store.open(name)
        if table is None:
            continue
        before = len(table.file_uris())
        table.optimize.compact(target_size=target_bytes)
        table.create_checkpoint()
        deleted = table.vacuum(kept_hours, dry_run=False, enforce_retention_duration=False)
        done.append(Upkeep(name, before, len(table.file_uris()), len(deleted)))
    return done
