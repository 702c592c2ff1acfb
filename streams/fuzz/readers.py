"""What is fuzzed: each format, and each codec of what lies on topics, as a function of bytes."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from featurestore.checkpoint import decode_state
from schemas import DecodeError, Event, LeftOut, StateError
from schemas.batches import NAMES, Progress, decode_batch, field_names
from schemas.forecasts import JSON_RECORDS, decode_json, encode_json
from schemas.rows import decode_rows, encode_rows
from schemas.rules import SECOND_NS
from schemas.tensors import HORIZONS
from streams.formats import Decode, formats, run_decoders
from streams.formats.book import BookChange
from streams.infer.forecaster import Forecaster
from streams.infer.models import persistence
from streams.ingest.book import read_change
from streams.ingest.checkpoints import last_checkpoints
from streams.ingest.state import NormaliserState
from streams.score.scorer import Scorer

_LAST = 2**63


class Reader(NamedTuple):
    """One reader of foreign bytes: `read` returns where they are fine, and raises `refuses` where not."""

    read: Callable[[bytes], None]
    refuses: tuple[type[Exception], ...] = (DecodeError,)


@cache
def readers() -> Mapping[str, Reader]:
    """Return every reader by name: formats by theirs, codecs as `batch`, `rows`, `json-forecast`, `state-infer`.

    >>> [name for name in readers() if name.startswith("state")]
    ['state-featurize', 'state-infer', 'state-ingest', 'state-ingest-chunks', 'state-score']
    """
    found = {name: Reader(partial(_format, name, decode)) for name, decode in formats().items()}
    found |= {f"json-{name}": Reader(partial(_json, kind)) for name, kind in JSON_RECORDS.items()}
    found |= {"batch": Reader(_batch), "rows": Reader(_rows), "progress": Reader(_progress)}
    states = {"ingest": _ingest, "ingest-chunks": _chunks, "featurize": _featurize, "infer": _infer, "score": _score}
    found |= {f"state-{name}": Reader(read, (StateError,)) for name, read in states.items()}
    return MappingProxyType(dict(sorted(found.items())))


@cache
def sources(name: str) -> tuple[str, ...]:
    """Return the sources that frames of a format come from, as feed handlers name them."""
    known = {
        "binance-combined": ("binance", "binance-usdm", "binance-coinm"),
        "tardis": ("binance-futures", "deribit", "okex-swap", "bitmex", "coinbase"),
    }
    return known.get(name, (name.removesuffix("-websocket"),))


def _format(name: str, decode: Decode, value: bytes) -> None:
    """Read a frame as of every source that there is; what comes out must be fit to be sent."""
    refused: DecodeError | None = None
    for source in sources(name):
        try:
            made = decode(value, source)
        except DecodeError as error:
            refused = error
        else:
            _require_sound(made)
        if name in run_decoders():
            run_decoders()[name]([value, value], source)
    if refused is not None:
        raise refused


def _require_sound(made: Sequence[Event | BookChange] | LeftOut) -> None:
    """Raise AssertionError for what no later stage could take."""
    if isinstance(made, LeftOut):
        return
    for each in made:
        last = each.last if isinstance(each, BookChange) else each.sequence
        if not 0 <= each.event_time_ns < _LAST or not -1 <= last < _LAST:
            raise AssertionError(f"a time or number outside int64: {each!r:.200}")
        if isinstance(each, BookChange):
            read_change(each)
            continue
        for field, number in msgspec.structs.asdict(each).items():
            if field in {"price", "bid_price", "ask_price"} and not 0 < number < math.inf:
                raise AssertionError(f"{field} of {number}: {each!r:.200}")


def _json(kind: type[msgspec.Struct], value: bytes) -> None:
    encode_json(decode_json(value, kind))


def _batch(value: bytes) -> None:
    batch = decode_batch(value)
    for name in field_names(batch.record):
        if name in NAMES:
            codes, names = batch.codes(name)
            if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < len(names):
                raise AssertionError(f"{name}: an index outside its {len(names)} names")
        else:
            batch.texts(name) if name in {"id", "right"} else batch.to_arrow().column(name).to_pylist()


def _rows(value: bytes) -> None:
    rows = decode_rows(value)
    if rows.instruments:
        encode_rows(rows)


def _progress(value: bytes) -> None:
    Progress.decode(value)


def _ingest(value: bytes) -> None:
    NormaliserState.decode(value)


def _chunks(value: bytes) -> None:
    last_checkpoints([(b"raw.exchange.v1/0/owner", value)])


def _featurize(value: bytes) -> None:
    decode_state(value, "r" * 12, 0)


def _infer(value: bytes) -> None:
    forecaster = Forecaster(persistence("ticks", SECOND_NS))
    forecaster.restore(value)
    Forecaster(persistence("ticks", SECOND_NS)).restore(forecaster.state())


def _score(value: bytes) -> None:
    scorer = Scorer(HORIZONS["ticks"], SECOND_NS)
    scorer.restore(value)
    Scorer(HORIZONS["ticks"], SECOND_NS).restore(scorer.state())
