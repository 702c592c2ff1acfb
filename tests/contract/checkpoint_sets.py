"""Golden sets of states, one folder a release: how they are written, and how they are read again.

`python -m tests.contract.checkpoint_sets` writes the set of the version that pyproject.toml names.
"""

import asyncio
import hashlib
import json
import sys
import tomllib
from itertools import count
from pathlib import Path
from unittest.mock import patch

import msgspec
import numpy as np
import zstandard

from schemas.rules import SECOND_NS
from schemas.topics import EVENT_TOPICS, FEATURE_ROW, FORECAST
from streams import checkpoints
from streams.checkpoints import CheckpointStore
from streams.ingest import checkpoints as ingest_checkpoints
from streams.ingest.checkpoints import Owner
from streams.sources import RawMessage
from streams.sources.market import INSTRUMENTS, market
from streams.sources.replay import with_heartbeats
from tests.contract.checkpoint_players import PLAYERS, RULES, Given, Made

SETS = Path(__file__).parent / "golden" / "checkpoints"
START_NS = 1_767_225_600 * SECOND_NS
SECONDS, CUT_SECONDS = 280, 215
EVERY_SECONDS = 4
JUDGED = b'"instrument_id":"binance:BTC-USDT"'
"""Score reads the forecasts of one instrument: those of all take much room."""
_ROWS_LATE = 8
PIECE_BYTES = 256
"""Size of a chunk in a set: a real one would make it large."""
PLACE = ("raw.exchange.v1", 0)


class Golden(msgspec.Struct, frozen=True):
    """A state, what its stage had read, and what it was to read next."""

    given: list[Given]
    cut: int
    """So many of `given` are in the state."""
    state: bytes
    made: str
    """SHA-256 of all that was written before the state."""
    processor: str
    """See `processor`."""


class Manifests(msgspec.Struct, frozen=True):
    """A checkpoint topic after two generations: records, and the state that is in them."""

    records: list[tuple[bytes, bytes]]
    blob: bytes


def processor() -> str:
    """Return a digest of logarithms and powers, whose last bits differ between kinds of processors."""
    numbers = np.linspace(1e-9, 50.0, 4_001)
    return hashlib.sha256(np.log(numbers).tobytes() + np.exp(-numbers).tobytes()).hexdigest()


def digest(made: list[Made]) -> str:
    """Return what tells two outputs apart."""
    return hashlib.sha256(msgspec.msgpack.encode(made)).hexdigest()


def played(stage: str, given: list[Given], cut: int) -> tuple[list[Made], bytes, list[Made], bytes]:
    """Return what a stage makes before the cut, its state there, what it makes then, and its last state."""
    player = PLAYERS[stage]()
    before = [made for each in given[:cut] for made in player.take(each)]
    flushed, state = player.state()
    after, last = gone_on(player, given[cut:])
    return [*before, *flushed], state, after, last


def restored(stage: str, golden: Golden) -> tuple[list[Made], bytes]:
    """Return what a stage makes after a restart from the state, and its last state."""
    player = PLAYERS[stage]()
    early = player.restore(golden.state)
    reached: dict[str, int] = {each.topic: each.offset + 1 for each in golden.given[: golden.cut]}
    again = [
        each
        for place, each in enumerate(golden.given)
        if each.offset >= player.resume.get(each.topic, 0 if place < golden.cut else reached.get(each.topic, 0))
    ]
    late, last = gone_on(player, again)
    return [*early, *late], last


def gone_on(player, given: list[Given]) -> tuple[list[Made], bytes]:
    made = [record for each in given for record in player.take(each)]
    flushed, state = player.state()
    return [*made, *flushed], state


# Writing.


def raw_records() -> list[Given]:
    """Return minutes of the built-in market, thinned, with books, as one raw partition holds it."""
    chosen = tuple(each for each in INSTRUMENTS if each.instrument_id.split(":")[0] in {"binance", "coinbase", "bybit"})
    kept: dict[tuple[bytes, bytes], int] = {}
    messages = []
    for message in market(1, START_NS, SECONDS, instruments=chosen):
        kind = message.key, message.value[:38]
        if message.topic == PLACE[0] and message.receive_time_ns >= kept.get(kind, 0) + EVERY_SECONDS * SECOND_NS:
            kept[kind] = message.receive_time_ns
            messages.append(message)
    messages = sorted([*messages, *_books()], key=lambda message: message.receive_time_ns)
    placed = (message for topic, _, message in with_heartbeats(messages, RULES) if topic == PLACE[0])
    return [
        Given(PLACE[0], offset, message.value, list(message.headers().items())) for offset, message in enumerate(placed)
    ]


def _books():
    """Yield a book as a whole and, of a perpetual, changes that wait for theirs."""
    for second in range(3, SECONDS, 20):
        now_ns = START_NS + second * SECOND_NS
        sides = {"bids": [[f"{59_999 - second % 7}.5", "0.25"]], "asks": [[f"{60_001 + second % 5}.0", "1.5"]]}
        whole = {"stream": "btcusdt@depth20@100ms", "data": {"lastUpdateId": 100 + second, **sides}}
        change = {"e": "depthUpdate", "E": now_ns // 10**6, "T": now_ns // 10**6, "s": "ETHUSDT", "U": second}
        change |= {"u": second + 19, "pu": second - 1, "b": [["2999.5", f"{second}.5"]], "a": []}
        for source, frame in (("binance", whole), ("binance-usdm", {"stream": "ethusdt@depth@100ms", "data": change})):
            value = json.dumps(frame, separators=(",", ":")).encode()
            key = f"{source}/books".encode()
            yield RawMessage(PLACE[0], key, value, source, "binance-combined", now_ns + 20_000_000)


def _inputs() -> dict[str, tuple[list[Given], int]]:
    """Return what each stage reads, each from the one before it, and how much of it before the cut."""
    raw = raw_records()
    cut = sum(int(dict(each.headers)["receive_time_ns"]) < START_NS + CUT_SECONDS * SECOND_NS for each in raw)
    inputs = {"ingest": (raw, cut)}
    for stage, reads, topics in (
        ("featurize", "ingest", EVENT_TOPICS),
        ("infer", "featurize", (FEATURE_ROW,)),
        ("score", "infer", (FORECAST,)),
    ):
        before, _, after, _ = played(reads, *inputs[reads])
        offsets = {topic: count() for topic in topics}
        first, rest = (
            [
                Given(each.topic, next(offsets[each.topic]), each.value, each.headers)
                for each in part
                if each.topic in topics
            ]
            for part in (before, after)
        )
        inputs[stage] = [*first, *rest], len(first)
    rows, cut = inputs["infer"]
    forecasts = [each for each in inputs["score"][0] if JUDGED in (each.value or b"")]
    inputs["score"] = _beside(rows, forecasts, cut)
    return inputs


def _beside(rows, forecasts, cut):
    """Return rows and forecasts, these late around a cut, so that rows are kept for them; and the cut's place."""
    mixed, at_cut, read = [], 0, 0
    for place, row in enumerate(rows):
        at_cut = len(mixed) if place == cut else at_cut
        mixed.append(row)
        told = cut - _ROWS_LATE if cut - _ROWS_LATE < place <= cut + 1 else place
        until = len(forecasts) * told // len(rows)
        for forecast in forecasts[read:until]:
            mixed.append(Given(FORECAST, read, forecast.value))
            read += 1
    return mixed, at_cut


class TableLog:
    """A checkpoint topic as a stage's table has it."""

    def __init__(self, records=()):
        self.held = dict(records)

    def records(self, _):
        return dict(self.held)

    async def write(self, _, key, value):
        self.held[key] = value
        if value is None:
            del self.held[key]


def _stage_manifests(blob: bytes) -> Manifests:
    log = TableLog()
    with patch.object(checkpoints, "CHUNK_BYTES", PIECE_BYTES):
        store = CheckpointStore(log, "process-a")
        store.load(0)
        for each in (blob[:300] + b"of before", blob):
            asyncio.run(store.save(0, each, resume={FEATURE_ROW: 7, FORECAST: 9}))
    return Manifests(sorted(log.held.items()), blob)


def without_resume(manifests: Manifests) -> Manifests:
    """Return what the release before the field `resume` wrote."""
    records = [
        (key, json.dumps({n: v for n, v in json.loads(value).items() if n != "resume"}).encode())
        if key.endswith(b"manifest")
        else (key, value)
        for key, value in manifests.records
    ]
    return Manifests(records, manifests.blob)


def _ingest_manifests(blob: bytes, piece_bytes: int) -> Manifests:
    held: dict[bytes, bytes] = {}
    with patch.object(ingest_checkpoints, "CHUNK_BYTES", piece_bytes):
        owner = Owner(PLACE, "owner-a")
        for each in (b"of before", blob):
            made = owner.generation(each)
            for key, value in (*made.chunks, *made.manifest, *made.stale):
                held[key] = value
                if value is None:
                    del held[key]
    return Manifests(sorted(held.items()), blob)


def write_set(folder: Path) -> None:
    """Write all files of a set."""
    folder.mkdir(parents=True)
    for stage, (given, cut) in _inputs().items():
        before, state, _, _ = played(stage, given, cut)
        _write(folder / f"{stage}.zst", Golden(given, cut, state, digest(before), processor()))
        if stage == "ingest":
            _write(folder / "ingest-manifest.zst", _ingest_manifests(state, 1 << 20))
            _write(folder / "ingest-chunks.zst", _ingest_manifests(state, PIECE_BYTES))
        if stage == "infer":
            manifests = _stage_manifests(state[:1_000])
            _write(folder / "stage-manifest.zst", manifests)
            _write(folder / "stage-manifest-without-resume.zst", without_resume(manifests))


def _write(path: Path, what: msgspec.Struct) -> None:
    path.write_bytes(zstandard.ZstdCompressor(level=19).compress(msgspec.msgpack.encode(what)))
    sys.stdout.write(f"{path.relative_to(SETS)}: {path.stat().st_size:,} bytes\n")


def read_golden(path: Path, kind=Golden):
    """Return a file of a set."""
    return msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(path.read_bytes()), type=kind)


def version() -> str:
    """Return the version that the next set is of."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    return tomllib.loads(project.read_text())["project"]["version"]


if __name__ == "__main__":
    target = SETS / version()
    if target.exists():
        sys.exit(f"{target} is there, and a released set never changes: raise the version in pyproject.toml first")
    write_set(target)
