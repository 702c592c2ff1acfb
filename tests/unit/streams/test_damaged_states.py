"""Odd and damaged states end in StateError, with what to do; whatever else is taken was a state."""

import random
from collections import Counter

import msgspec
import pyarrow as pa
import pytest
import zstandard

from schemas import StateError
from tests.contract.checkpoint_players import PLAYERS, Engine
from tests.contract.checkpoint_sets import SETS, read_golden, version

DRAWS = {"ingest": 120, "featurize": 120, "infer": 120, "score": 120}
WHAT_TO_DO = ("delete", "begins anew", "drain", "announce")
STRANGE = (
    *(-1, 0, 1, 2**62, 2**63 - 1, -(2**63), 2**64 - 1, float("nan"), float("inf"), 1.5, True, None),
    *("", "x", "a\nb\nc", b"", b"\0" * 7, b"\xff" * 64, [], {}, [[]], ["x"], {"x": 1}),
)


def whole(stage):
    state = read_golden(SETS / version() / f"{stage}.zst").state
    return msgspec.msgpack.decode(state, type=Engine).blob if stage == "featurize" else state


def unpacked(stage, blob):
    if stage == "ingest":
        blob = pa.decompress(blob[8:], int.from_bytes(blob[:8]), codec="zstd", asbytes=True)
    elif stage == "featurize":
        blob = zstandard.ZstdDecompressor().decompress(blob[5:])
    return msgspec.msgpack.decode(blob)


def packed(stage, state):
    blob = msgspec.msgpack.encode(state)
    if stage == "ingest":
        return len(blob).to_bytes(8) + pa.compress(blob, codec="zstd", asbytes=True)
    if stage == "featurize":
        return b"FSCP1" + zstandard.ZstdCompressor(level=1).compress(blob)
    return blob


def restore(stage, blob):
    PLAYERS[stage]().restore(msgspec.msgpack.encode(Engine(blob, [])) if stage == "featurize" else blob)


def refusal(stage, blob):
    """Why a state is refused, "" where it is taken."""
    try:
        restore(stage, blob)
    except StateError as error:
        return str(error)
    return ""


def torn(blob, draw):
    """Bytes that are cut short, or have one bit turned."""
    place = draw.randrange(len(blob))
    if draw.random() < 0.5:
        return blob[:place]
    return blob[:place] + bytes([blob[place] ^ 1 << draw.randrange(8)]) + blob[place + 1 :]


def paths(node, path=()):
    yield path
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield from paths(node[key], (*path, key))


def bent(state, draw):
    """A state in which one value somewhere is missing, twice there, torn or strange."""
    every = list(paths(state))[1:]
    depth = draw.randint(1, max(map(len, every)))
    *inner, key = draw.choice([path for path in every if len(path) == depth])
    node = state
    for step in inner:
        node = node[step]
    value, kind = node[key], draw.randrange(5)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, list):
        node.insert(key, value)
    elif kind == 2 and isinstance(value, bytes) and value:
        node[key] = torn(value, draw)
    else:
        alike = [each for each in STRANGE if type(each) is type(value)]
        node[key] = draw.choice(alike if alike and kind != 3 else STRANGE)
    return state


@pytest.mark.parametrize("stage", PLAYERS)
def test_a_damaged_state_is_refused_with_what_to_do(stage):
    draw, blob, ends = random.Random(stage), whole(stage), Counter()
    restore(stage, blob)
    for number in range(DRAWS[stage]):
        damaged = torn(blob, draw) if number % 3 == 0 else packed(stage, bent(unpacked(stage, blob), draw))
        problem = refusal(stage, damaged)
        assert not problem or any(text in problem for text in WHAT_TO_DO), problem
        ends["refused" if problem else "taken"] += 1
    assert ends["refused"] > DRAWS[stage] / 4, ends


def changed(stage, path, value):
    state = unpacked(stage, whole(stage))
    node = state
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return packed(stage, state)


CELL = ("cells", "binance:BTC-USDT", "1m")
SCORE = {
    "no offsets": (("resume",), {}, "expected offsets of"),
    "another horizon": (("cells", "binance:BTC-USDT"), {"7m": None}, "unreadable"),
    "experts without a past": ((*CELL, 0), ["har"], "other shapes or counts"),
    "a past that is not known": ((*CELL, 1, "regret"), [[float("nan")] * 3] * 2, "other shapes or counts"),
    "shifts of other quantiles": ((*CELL, 2, "shared"), [0.0] * 6, "other shapes or counts"),
    "more held than counted": ((*CELL, 3), [1, 2, b"\1"], "other shapes or counts"),
    "a count of none": ((*CELL, 3), [float("nan"), 0, b""], "unreadable"),
    "a spread below 0": (("drift", "skill|1m", 5), -1.0, "numbers of the watch"),
    "a waiting horizon": (("waiting", 0, 1), "7m", "expected horizons among"),
    "a waiting quantile less": (("waiting", 0, 4, 1), {"0.5": 1e-6}, "quantiles of each waiting forecast"),
    "regimes of nobody": (("seen", "silent"), [1], "its regimes"),
}


@pytest.mark.parametrize("name", SCORE)
def test_a_state_of_score_that_does_not_fit_itself_is_told(name):
    path, value, told = SCORE[name]
    with pytest.raises(StateError, match=rf"score: .*{told}.*begins anew"):
        restore("score", changed("score", path, value))


FEATURIZE = {
    "fewer tiles closed": (("tiles", "closed"), 1, "borders"),
    "more tiles closed": (("tiles", "closed"), 1 << 40, "borders"),
    "rows of long ago": (("tiles", "row_border_ns"), 0, "borders"),
    "rows between borders": (("tiles", "row_border_ns"), 7, "borders"),
    "a market of the future": (("tiles", "book", "merged"), 1 << 40, "borders"),
}


@pytest.mark.parametrize("name", FEATURIZE)
def test_borders_that_no_engine_comes_to_are_refused(name):
    path, value, told = FEATURIZE[name]
    with pytest.raises(StateError, match=rf"{told}.*: delete it and rebuild"):
        restore("featurize", changed("featurize", path, value))
