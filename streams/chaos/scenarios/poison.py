"""Records that nobody can read, and records that nobody can read yet."""

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.topics import FED_BY, RAW_TOPICS
from streams.backfill.sources import Request
from streams.backfill.sources import run as backfill
from streams.backfill.tasks import Inline
from streams.chaos import unlearned
from streams.chaos.live import first_rows
from streams.chaos.logs import Logs, raw_offsets, raw_partitions
from streams.chaos.scenario import ROWS_ONLY, START_NS, Playing, Trial, scenario
from streams.chaos.timing import most_behind, rows_written
from streams.dead_letters import replayed_from
from streams.dead_letters.reading import Chosen, letters
from streams.dead_letters.replaying import replay
from streams.kafka import read_topic
from streams.sources import RawMessage
from streams.sources.faults import DAMAGES
from streams.stage import Message

_RATIO = 0.01
_INTENSITY = 4.0
_PLAYED_SECONDS = 180
_QUICK_PLAYED_SECONDS = 20
_LEARNT_SECONDS = 60
_DONE_SECONDS = 120.0
_OVERSIZE_BYTES = 2 << 20
_NUMBER = re.compile(rb'"(p|b|bid|bid_price|price|close|value|mark_price)":\s*"?[0-9][^,}"]*"?')
_QUOTE = re.compile(rb'"b":"([0-9.]+)"(.*)"a":"([0-9.]+)"')

Spoil = Callable[[RawMessage], RawMessage | None]
"""Returns a message that is poison; None where this message cannot be spoilt so."""


def _number(text: bytes) -> Spoil:
    def spoil(message: RawMessage) -> RawMessage | None:
        value, count = _NUMBER.subn(rb'"\1":' + text, message.value, count=1)
        return msgspec.structs.replace(message, value=value) if count else None

    return spoil


def _null(message: RawMessage) -> RawMessage:
    return msgspec.structs.replace(message, value=None)


def _crossed(message: RawMessage) -> RawMessage | None:
    value, count = _QUOTE.subn(rb'"b":"\3"\2"a":"\1"', message.value, count=1)
    return msgspec.structs.replace(message, value=value) if count else None


_CROSSED = "crossed book"
_POISONS: dict[str, Spoil] = {
    **DAMAGES,
    "NaN": _number(b'"NaN"'),
    "infinity": _number(b'"Infinity"'),
    "oversize": _number(b'"' + b"9" * _OVERSIZE_BYTES + b'"'),
    "null": _null,
    _CROSSED: _crossed,
}

_Content = tuple[bytes | None, bytes | None, bytes, bytes]


@scenario(
    "F11",
    "1 % of the raw records are poison; 1 % more a later reader can read, and are sent to it again",
    services=("kafka",),
    seconds=180,
)
def poison(trial: Trial) -> None:
    """Play poison at the market's speed; in a full run then also fix a reader and replay."""
    spoilt: dict[_Content, str] = {}
    seconds = _QUICK_PLAYED_SECONDS if trial.quick else _PLAYED_SECONDS
    market = _poisoned(trial, trial.market(seconds, _INTENSITY), spoilt)
    with trial.running() as live:
        with Playing(trial.settings, market) as playing:
            live.wait(lambda: playing.is_ending, seconds + _DONE_SECONDS, "the market to end")
        live.wait_until_done(seconds=_DONE_SECONDS)
        trial.require(not live.said, f"processes ended: {live.said}")
    logs, _ = trial.verify()
    _judge(trial, logs, spoilt)
    since_ms = playing.ahead_ms + START_NS / 1e6
    behind = most_behind(rows_written(trial.settings), playing.ahead_ms, since_ms, trial.settings.rules)
    trial.figure("rows behind their time", behind, "s", limit=5)
    if not trial.quick:
        _fix_and_replay(trial)


def _poisoned(trial: Trial, messages: Iterator[RawMessage], spoilt: dict[_Content, str]) -> Iterator[RawMessage]:
    kinds = list(_POISONS)
    for message in messages:
        kind = trial.draw.choice(kinds) if trial.draw.random() < _RATIO else ""
        poison = _POISONS[kind](message) if kind else None
        if poison is not None:
            headers = poison.headers()
            spoilt[poison.key, poison.value, headers["format"], headers["receive_time_ns"]] = kind
        yield poison or message


def _content(message: Message) -> _Content:
    return message.key or b"", message.value, message.headers["format"], message.headers["receive_time_ns"]


def _judge(trial: Trial, logs: Logs, spoilt: dict[_Content, str]) -> None:
    """Each poison record has its dead letter, whole and with a reason, and no event; a crossed quote is no quote."""
    raw = {(m.topic, m.partition, m.offset): m for topic in RAW_TOPICS for m in read_topic(trial.settings, topic)}
    poison = {place: spoilt[_content(m)] for place, m in raw.items() if _content(m) in spoilt}
    unreadable = {place for place, kind in poison.items() if kind != _CROSSED}
    dead = {(*letter.origin,): letter for letter in letters(trial.settings)}
    whole = {
        place
        for place, letter in dead.items()
        if (letter.key, letter.value, letter.headers) == _as_sent(raw[place]) and letter.reason and letter.message
    }
    events = {
        (FED_BY[topic], int(partition), int(offset))
        for (topic, _, _), stamps in logs.events.items()
        for partition, offset in zip(raw_partitions(stamps), raw_offsets(stamps), strict=True)
    }
    # In the few records of a quick run not every kind is drawn.
    kinds = len(_POISONS) // 2 if trial.quick else len(_POISONS)
    trial.figure("kinds of poison", len(set(poison.values())), limit=kinds, at_least=True)
    trial.figure("poison records", len(poison), limit=1, at_least=True)
    share = 100 * len(unreadable & whole) / max(len(unreadable), 1)
    trial.figure("in the dead letters, whole and with a reason", share, "%", limit=100, at_least=True)
    trial.figure("poison in the output", len(poison.keys() & events), limit=0)
    others = sorted(dead.keys() - poison.keys())
    trial.require(not others, f"dead letters of sound records: {others[:3]}")


def _as_sent(message: Message) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]:
    return message.key, message.value, tuple(message.header_pairs())


def _fix_and_replay(trial: Trial) -> None:
    """Read a sound market by a reader that has not learnt all of it, then all again by one that has."""
    trial.say("a reader that is fixed")
    trial.reset(keep=())
    trial.fill(trial.market(_LEARNT_SECONDS))
    clean = _backfilled(trial, with_late=False)
    with trial.running(ROWS_ONLY, commands={"ingest": unlearned.command()}) as live:
        live.wait_until_done(seconds=_DONE_SECONDS)
        trial.require(not live.said, f"processes ended: {live.said}")
    before = first_rows(trial.settings)
    outcome = replay(trial.settings, Chosen())
    dead = len(list(letters(trial.settings)))
    came = {
        found[1]
        for topic in RAW_TOPICS
        for message in read_topic(trial.settings, topic)
        if (found := replayed_from(message.header_pairs()))
    }
    with trial.running(ROWS_ONLY) as live:
        live.wait_until_done(seconds=_DONE_SECONDS)
        trial.require(not live.said, f"processes ended: {live.said}")
    trial.figure("records refused before the fix", dead, limit=1, at_least=True)
    trial.figure("of them sent again", 100 * len(came) / max(dead, 1), "%", limit=100, at_least=True)
    refused = len(list(letters(trial.settings))) - dead
    trial.figure("of them refused again", refused, limit=0)
    trial.require(sum(outcome.sent.values()) == dead, f"the replay says {outcome}, there are {dead} dead letters")
    trial.require(first_rows(trial.settings) == before, "a replay changed rows that were written")
    same = _backfilled(trial, with_late=True).equals(clean)
    trial.require(same, "`backfill --with-late` after the replay is not the clean run")


def _backfilled(trial: Trial, *, with_late: bool) -> pa.Table:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        backfill(Request(trial.settings, trial.settings.rules, topics="raw", rows=path, with_late=with_late), Inline())
        return pq.read_table(path).sort_by([("row_time_ns", "ascending"), ("instrument_id", "ascending")])
