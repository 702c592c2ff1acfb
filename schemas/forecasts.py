"""JSON records that leave Foreshock: forecasts, attention, scores, calibration, announcements.

Evolution: a new field has a default, a field never changes its type or meaning, none is renamed.
Means and quantiles are of realised variance over the horizon; volatility is annualised on 365 days.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal, TypeVar

import msgspec

from schemas.calibration import Calibration, CalibrationShift, Share
from schemas.decisions import Drift, ModelDecision
from schemas.errors import DecodeError
from schemas.rules import SECOND_NS

_Record = TypeVar("_Record", bound=msgspec.Struct)

Quantiles = dict[str, float]
"""Quantile level ("0.05") to realised variance."""
Status = Literal["model", "fallback", "unavailable"]


class HorizonForecast(msgspec.Struct, frozen=True, kw_only=True):
    """The forecast of one horizon; `uncertainty` is the rank of the band's relative width."""

    mean: float
    quantiles: Quantiles
    volatility_annualised: float
    uncertainty: Share = 0.5


class ModelName(msgspec.Struct, frozen=True, kw_only=True):
    """Which model made it; the hash is of the bundle's contents."""

    name: str
    version: str
    hash: str


class ExpertForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One expert's own forecast, by horizon, and its weight in the combination.

    `weights`: by horizon the weight of its log mean in that of the combination, and of its log quantiles;
    `weight`: the first of both, averaged over horizons. An expert without a forecast of a horizon has weight 0
    there, and so has one that is only watched, whose name holds "@".
    """

    weight: float
    hash: str
    means: dict[str, float] = {}
    quantiles: dict[str, Quantiles] = {}
    weights: dict[str, tuple[float, float]] = {}


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to compute the forecast again.

    `rows`: (topic, partition, first offset, last offset) of the row messages behind it;
    `features_hash`: SHA-256 of the instrument's tensors; `batch`: (rows in the batch, place in it).
    """

    rows: list[tuple[str, int, int, int]]
    features_hash: str
    batch: tuple[int, int]


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """All horizons of one instrument at one origin time."""

    id: str
    instrument_id: str
    origin_time_ns: int
    status: Status
    reason: str = ""
    quality: list[str] = []
    horizons: dict[str, HorizonForecast]
    model: ModelName
    feature_set_id: str
    valid_until_ns: int
    calibration: dict[str, CalibrationShift] = {}
    experts: dict[str, ExpertForecast] = {}
    receipt: Receipt


class HeadSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What one attention head looked at.

    `half_life_seconds` of its decay, `mean_look_back_seconds` under its weights, `entropy` in nats,
    `top`: the heaviest (modality, look-back in seconds, weight).
    """

    half_life_seconds: float
    mean_look_back_seconds: float
    entropy: float
    modalities: dict[str, float]
    top: list[tuple[str, float, float]] = []


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """Attention of the Performer behind one forecast.

    The record of a sampled forecast comes a second time, explained. `contributions`: by horizon and
    modality, what the log of the Performer's expected variance loses without the modality (what
    log-HAR reads is then at its median); `faithfulness`: rank correlation of modality mass with
    these effects over the shortest horizon, mean over the last explained forecasts, and how many.
    """

    id: str
    instrument_id: str
    origin_time_ns: int
    model: ModelName
    modalities: dict[str, float]
    heads: list[HeadSummary]
    faithfulness: tuple[float, int] | None = None
    contributions: dict[str, dict[str, float]] = {}


class HorizonScore(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of one horizon of one expert; all but coverage are losses.

    `coverage`: whether what happened lay inside the central 50, 80 and 90 % bands.
    """

    mean: float
    qlike: float
    pinball: float
    crps: float
    coverage: dict[str, bool]


class ForecastScore(msgspec.Struct, frozen=True, kw_only=True):
    """One horizon of one forecast against what then happened, for it and for every expert.

    `regime`: state of the market for which the forecast was calibrated, -1 where none was known.
    """

    id: str
    forecast_id: str
    instrument_id: str
    origin_time_ns: int
    horizon: str
    status: Status
    realised_variance: float
    scores: dict[str, HorizonScore]
    regime: int = -1


class LateEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event left out of tiles; `reason` late or future, `by_ns` how far outside."""

    record: str
    instrument_id: str
    venue: str
    reason: Literal["late", "future"]
    event_time_ns: int
    receive_time_ns: int
    watermark_ns: int
    by_ns: int
    raw_topic: str
    raw_partition: int
    raw_offset: int
    raw_index: int
    event: dict[str, float | int | str | list[float] | None] = {}
    """The fields of the event itself, so that nothing is lost."""


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """From `border_ns` on, rows hold these features (name to version)."""

    kind: Literal["feature-set"] = "feature-set"
    border_ns: int
    feature_set_id: str
    features: dict[str, str]


class MarketPart(msgspec.Struct, frozen=True, kw_only=True):
    """One partition's part of the market series over borders in (from_ns, to_ns].

    `series`: name to a (sum, count) for each of `borders`; a border not named has no part.
    """

    partition: int
    from_ns: int
    to_ns: int
    borders: list[int] = []
    series: dict[str, list[tuple[float, int]]] = {}


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """Rows recomputed from the canonical log against those on the topic.

    A `summary` tells how many row messages of a partition were `checked` up to `row_time_ns` since
    the process started, and how many of them were not as recomputed; a `mismatch` tells of one such
    message: `reason` "other bits", "repeat" (a repeat with other bits), "missing" or "unexpected",
    the number of `values` that differ, and some of the instruments and columns by name.
    """

    kind: Literal["summary", "mismatch"]
    partition: int
    row_time_ns: int
    share: Share
    checked: int = 0
    mismatched: int = 0
    row_id: str = ""
    offset: int = -1
    reason: str = ""
    values: int = 0
    instruments: list[str] = []
    columns: list[str] = []


JSON_RECORDS: dict[str, type[msgspec.Struct]] = {
    "forecast": Forecast,
    "attention": Attention,
    "forecast-score": ForecastScore,
    "calibration": Calibration,
    "late-event": LateEvent,
    "announcement": Announcement,
    "model-decision": ModelDecision,
    "drift": Drift,
    "part": MarketPart,
    "parity": Parity,
}


def encode_json(record: msgspec.Struct) -> bytes:
    """Return a record as JSON bytes, its keys in the order of its fields."""
    return msgspec.json.encode(record)


def decode_json(value: bytes, kind: type[_Record]) -> _Record:
    """Return the record in `value`; raises DecodeError with the path of what is wrong."""
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text, _, path = str(error).partition(" - at ")
        raise DecodeError(text, path=path.strip("`") or "$") from None


def cloud_event_headers(kind: str, event_id: str, time_ns: int, subject: str) -> list[tuple[str, bytes]]:
    """Return CloudEvents 1.0 headers in Kafka's binary mode.

    `time_ns` is the record's own time: the same record always has the same headers.
    """
    seconds, rest = divmod(time_ns, SECOND_NS)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fields: Iterable[tuple[str, str]] = (
        ("ce_specversion", "1.0"),
        ("ce_id", event_id),
        ("ce_source", "/foreshock"),
        ("ce_type", f"foreshock.{kind}.v1"),
        ("ce_time", f"{moment}.{rest:09d}Z"),
        ("ce_subject", subject),
        ("content-type", "application/json"),
    )
    return [(name, value.encode()) for name, value in fields]
