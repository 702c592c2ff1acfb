"""From an id to what its forecast was made of: the record, the rows of its receipt, the bundle of its network."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from schemas.errors import SettingsError, StateError
from schemas.forecasts import Forecast
from schemas.rows import Rows
from schemas.topics import FEATURE_ROW
from streams.infer.models import Shape
from streams.infer.window import Window
from streams.reading import LogReader
from streams.receipts import find_forecast, parse_id, rows_behind
from streams.settings import Settings
from triton_models.bundle import Bundle, Spec, read
from triton_models.explanation.coalitions import Tensors
from triton_models.export import versions


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
    with LogReader(settings) as reader:
        forecast = find_forecast(reader, instrument, origin_ns)
        bundle = bundle_of(forecast, expert, settings.profile, repository)
        rows = list(rows_behind(reader, forecast, before_ns // bundle.spec.row_interval_ns))
    seen, digest = tensors_at(rows, bundle.spec, instrument, origin_ns)
    if digest != forecast.receipt.features_hash:
        raise StateError(
            f"{forecast_id}: its rows make tensors {digest[:12]}, the receipt says "
            f"{forecast.receipt.features_hash[:12]}; the rows or the model's features are others now"
        )
    before = tensors_at(rows, bundle.spec, instrument, origin_ns - before_ns)[0] if before_ns else None
    return Found(forecast, bundle, seen, before)


def bundle_of(forecast: Forecast, expert: str, profile: str, repository: Path) -> Bundle:
    """Return the bundle of a network behind a forecast, by its hash; raises StateError where it is not there."""
    if forecast.status != "model":
        raise StateError(f"{forecast.id}: no network made it: status {forecast.status} ({forecast.reason})")
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
