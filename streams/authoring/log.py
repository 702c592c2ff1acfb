"""Recorded data, or the built-in market, as a canonical log for trials."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from featurestore.backfill import CanonicalMessage
from schemas import Rules
from schemas.errors import ForeshockError
from schemas.rules import SECOND_NS
from streams.backfill import Outcome, normalised, placed
from streams.sources import RawMessage
from streams.sources.captures import find_captures
from streams.sources.market import market

MARKET_START_NS = 1_767_225_600 * SECOND_NS
_SEED = 7


def canonical_log(rules: Rules, paths: Sequence[Path], seconds: int) -> tuple[str, list[CanonicalMessage]]:
    """Return what the data is, and the canonical log of its first `seconds`.

    Without paths it is the built-in market: trades, quotes, mark prices and funding, flows and posts.
    Raises ForeshockError where a capture cannot be read or holds nothing.
    """
    if paths:
        messages = _first(find_captures(paths).messages(), seconds)
        source = ", ".join(path.name for path in paths)
    else:
        messages, source = market(_SEED, MARKET_START_NS, seconds), f"{seconds} s of the built-in market"
    log = list(normalised(placed(messages, rules), rules, Outcome()))
    if not log:
        raise ForeshockError(f"{source}: no events in it")
    return source, log


def _first(messages: Iterable[RawMessage], seconds: int) -> Iterator[RawMessage]:
    """Yield the messages of the first seconds of a source."""
    end_ns = 0

    def within(message: RawMessage) -> bool:
        nonlocal end_ns
        end_ns = end_ns or message.receive_time_ns + seconds * SECOND_NS
        return message.receive_time_ns < end_ns

    return takewhile(within, messages)
