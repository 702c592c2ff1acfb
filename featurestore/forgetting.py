"""Entities that were silent for longer than anything is kept: one row of silence stands for all alike.

What is kept of such an instrument follows from its asset and from the record types with which it was
ever heard, so it comes back as a copy of that row, and no row of features can tell. The same holds
for an asset whose instruments are all forgotten; then their rows of silence are those of no asset.
"""

from collections.abc import Iterable, Mapping

from featurestore.layout import Home
from featurestore.spaces import Space
from schemas import base_asset

_SILENT = "\x00"
"""Begins the names of rows of silence; no instrument and no asset is called that."""

Spaces = Mapping[Home, Space]


def forget(spaces: Spaces, before_ns: int) -> bool:
    """Drop what had no event since `before_ns`; return whether anything changed."""
    instruments, assets = spaces["instrument"], spaces["asset"]
    gone = _quiet(instruments, before_ns)
    for name in gone:
        _stand_in(instruments, name, _row_of(_remember(instruments, name), base_asset(name)))
    instruments.remove(gone)
    heard_of = {base_asset(name) for name in instruments.names if not _is_silence(name)}
    lost = [name for name in _quiet(assets, before_ns) if name not in heard_of]
    for name in lost:
        silence = _SILENT + _remember(assets, name)
        _stand_in(assets, name, silence)
        for row in [row for row in instruments.names if _is_silence(row) and base_asset(row) == name]:
            _stand_in(instruments, row, _row_of(_records(row), silence))
    assets.remove(lost)
    if gone or lost:
        _drop_unused(instruments, assets)
    return bool(gone or lost)


def recall(spaces: Spaces, wanted: Mapping[Home, Iterable[str]]) -> None:
    """Bring back those of the wanted entities that were forgotten; an instrument comes with its asset."""
    instruments, assets = spaces["instrument"], spaces["asset"]
    for name in sorted(set(wanted["asset"]) & assets.forgotten.keys()):
        silence = _SILENT + _bring_back(assets, name, _SILENT + assets.forgotten[name][0])
        kinds = {records for each, (records, _) in instruments.forgotten.items() if base_asset(each) == name}
        for records in sorted(kinds):
            _stand_in(instruments, _row_of(records, silence), _row_of(records, name))
    for name in sorted(set(wanted["instrument"]) & instruments.forgotten.keys()):
        _bring_back(instruments, name, _row_of(instruments.forgotten[name][0], base_asset(name)))


def _quiet(space: Space, before_ns: int) -> list[str]:
    last = space.last_time(space.head - 1)
    return [name for name, time in zip(space.names, last, strict=True) if time < before_ns and not _is_silence(name)]


def _is_silence(name: str) -> bool:
    return name.startswith(_SILENT)


def _row_of(records: str, asset: str) -> str:
    """Return the name of an instrument's row of silence: `base_asset` of it is the asset."""
    return f"{_SILENT}{records}:{asset}-"


def _records(row: str) -> str:
    return row.removeprefix(_SILENT).partition(":")[0]


def _remember(space: Space, name: str) -> str:
    """Note what has to be known of an entity; return its record types."""
    records = "+".join(space.heard(name))
    space.forgotten[name] = records, space.first_tile_of(name)
    return records


def _stand_in(space: Space, name: str, row: str) -> None:
    if row not in space.names:
        space.admit([row])
        space.copy(name, row)


def _bring_back(space: Space, name: str, row: str) -> str:
    records, first_tile = space.forgotten.pop(name)
    space.admit([name])
    space.copy(row, name, first_tile)
    return records


def _drop_unused(instruments: Space, assets: Space) -> None:
    """Drop rows of silence that stand for nothing any more."""
    links = {name: _SILENT + records for name, (records, _) in assets.forgotten.items()}
    owners = ((records, base_asset(name)) for name, (records, _) in instruments.forgotten.items())
    used = {_row_of(records, links.get(asset, asset)) for records, asset in owners}
    instruments.remove([row for row in instruments.names if _is_silence(row) and row not in used])
    linked = {*links.values(), *map(base_asset, instruments.names)}
    assets.remove([row for row in assets.names if _is_silence(row) and row not in linked])
