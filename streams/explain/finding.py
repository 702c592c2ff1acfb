"""From an id to what its forecast was made of: the record, the rows of its receipt, the bundle of its network."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from schemas.errors import ForeshockError, SettingsError, StateError
from schemas.forecasts import Forecast, decode_json
from schemas.instruments import base_asset, partition_of
from schemas.rows import Rows, decode_rows
from schemas.rules import SECOND_NS
from schemas.topics import FEATURE_ROW, FORECAST
from streams.infer.models import Shape
from streams.infer.window import Window
from streams.kafka import partition_counts, read_topic, watermarks
from streams.settings import Settings
from streams.stage import Message
from triton_models.bundle import Bundle, Spec, read
from triton_models.explanation.coalitions import Tensors
from triton_models.export import versions

_SCANNED = 2_000
"""So few records are read through rather than halved again."""
_DISORDER_NS = 60 * SECOND_NS
"""Repeats of a restart stand behind later forecasts; further than this none is searched."""


class Found(NamedTuple):
    """A forecast and the tensors that its networks saw."""

    forecast: Forecast
    bundle: Bundle
    seen: Tensors
    before: Tensors | None
    """The same instrument's tensors some time earlier; None where none was asked for."""


def find(settings: Settings, forecast_id: str, expert: str, before_ns: int, repository: Path) -> Found:
    """Return a forecast and what it was made of; `before_ns`: how much earlier the reference is, 0: none.

    Raises:
        SettingsError: what is no id.
        StateError: where record, rows or bundle are not there (any more), or rows are not those of the receipt.
    """
    instrument, origin_ns = parse_id(forecast_id)
    forecast = find_forecast(settings, instrument, origin_ns)
    bundle = bundle_of(forecast, expert, settings.profile, repository)
    rows = list(rows_behind(settings, forecast, before_ns // bundle.spec.row_interval_ns))
    seen, digest = tensors_at(rows, bundle.spec, instrument, origin_ns)
    if digest != forecast.receipt.features_hash:
        raise StateError(
            f"{forecast_id}: its rows make tensors {digest[:12]}, the receipt says "
            f"{forecast.receipt.features_hash[:12]}; the rows or the model's features are others now"
        )
    before = tensors_at(rows, bundle.spec, instrument, origin_ns - before_ns)[0] if before_ns else None
    return Found(forecast, bundle, seen, before)


def parse_id(forecast_id: str) -> tuple[str, int]:
    """Return the instrument and the origin time of an id.

    >>> parse_id("binance:BTC-USDT@1767226016000000000")
    ('binance:BTC-USDT', 1767226016000000000)
    """
    instrument, _, origin = forecast_id.rpartition("@")
    if not instrument or not origin.isdecimal():
        raise SettingsError(f"{forecast_id!r}: expected instrument_id@origin_time_ns, as a forecast's `id`")
    return instrument, int(origin)


def find_forecast(settings: Settings, instrument: str, origin_ns: int) -> Forecast:
    """Return the first record of a forecast; raises StateError where there is none."""
    forecast_id = f"{instrument}@{origin_ns}"
    count = partition_counts(settings, [FORECAST]).get(FORECAST, 0)
    if not count:
        raise StateError(f"{FORECAST}: there is no such topic; `foreshock run` creates it")
    partition = partition_of(base_asset(instrument), count)
    low, high = watermarks(settings, FORECAST)[partition]
    begin = low
    while high - begin > _SCANNED:
        middle = (begin + high) // 2
        if _origin_at(settings, partition, middle) < origin_ns - _DISORDER_NS:
            begin = middle
        else:
            high = middle
    return _scan(settings, partition, begin, forecast_id, origin_ns)


def _scan(settings: Settings, partition: int, begin: int, forecast_id: str, origin_ns: int) -> Forecast:
    first = None
    for message in read_topic(settings, FORECAST, partitions=[partition], start={partition: begin}):
        forecast = _decoded(message)
        if forecast is None:
            continue
        first = first or forecast
        if forecast.id == forecast_id:
            return forecast
        if forecast.origin_time_ns > origin_ns + _DISORDER_NS:
            break
    if first is None or origin_ns >= first.origin_time_ns:
        why = "no such forecast was made"
    else:
        why = f"the topic begins with {first.id}: it is expired, or never was"
    raise StateError(f"{forecast_id}: not on {FORECAST}[{partition}]; {why}")


def _origin_at(settings: Settings, partition: int, offset: int) -> int:
    for message in read_topic(settings, FORECAST, partitions=[partition], start={partition: offset}):
        forecast = _decoded(message)
        if forecast is not None:
            return forecast.origin_time_ns
    return np.iinfo(np.int64).max


def _decoded(message: Message) -> Forecast | None:
    try:
        return None if message.value is None else decode_json(message.value, Forecast)
    except ForeshockError:
        return None


def bundle_of(forecast: Forecast, expert: str, profile: str, repository: Path) -> Bundle:
    """Return the bundle of a network behind a forecast, by its hash; raises StateError where it is not there."""
    if forecast.status != "model":
        raise StateError(f"{forecast.id}: is a {forecast.status} forecast ({forecast.reason}); no network made it")
    folders = {name: repository / f"{name.partition('@')[0]}-{profile}" for name in forecast.experts}
    networks = sorted(name for name, folder in folders.items() if folder.is_dir())
    if expert not in networks:
        raise SettingsError(f"--expert: expected one of {', '.join(networks) or 'none'} behind it, got {expert!r}")
    wanted = forecast.experts[expert].hash
    for version in versions(folders[expert]):
        bundle = read(version)
        if bundle.hash == wanted:
            return bundle
    raise StateError(f"{forecast.id}: {expert} {wanted[:12]} made it, which is not in {repository} (any more)")


def rows_behind(settings: Settings, forecast: Forecast, more: int) -> Iterator[tuple[int, Rows]]:
    """Yield the row messages of a receipt by offset, and about `more` intervals before them.

    Raises:
        StateError: where the log has forgotten some.
    """
    topic, partition, first, last = forecast.receipt.rows[0]
    low, _ = watermarks(settings, topic)[partition]
    if low > first:
        raise StateError(f"{forecast.id}: its rows are expired; {topic}[{partition}] begins at {low}, they at {first}")
    # Repeats of a restart take offsets too.
    begin = max(low, first - 2 * more)
    for message in read_topic(settings, topic, partitions=[partition], start={partition: begin}):
        if message.offset > last:
            return
        yield message.offset, decode_rows(message.value or b"")


def tensors_at(rows: Iterable[tuple[int, Rows]], spec: Spec, instrument: str, time_ns: int) -> tuple[Tensors, str]:
    """Return an instrument's tensors at a row time, and their hash as in a receipt; raises StateError.

    The same window as live: what stands before its first row is not seen.
    """
    window = Window(Shape(spec.features, spec.modalities, spec.intervals, spec.row_interval_ns))
    for offset, each in rows:
        if each.header.row_time_ns > time_ns:
            break
        window.push(each, offset)
        if each.header.row_time_ns == time_ns and instrument in each.instruments:
            made = window.tensors((instrument,))
            return Tensors(made.features[0], made.mask[0], made.age[0]), made.digest(0)
    raise StateError(f"{instrument}@{time_ns}: {FEATURE_ROW} has no row of it at that time")
