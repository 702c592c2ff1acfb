"""W3C trace context of what is sent: a pure function of the record, so that a replay writes the same bytes.

A row is made of thousands of frames, so that no frame's own trace could be carried on. One trace is therefore one row
border: the event messages sent while the frames received before it were read, the rows at it, and the forecasts
with that origin. The id is a hash of the border and the rules of time; whether it is sampled is a part of that hash.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from schemas.topics import DEAD_LETTER
from streams.stage import Headers

TRACEPARENT = "traceparent"
_RANDOM_BYTES = 7
"""So many bytes at the end of a trace id count as random: OpenTelemetry samples by them."""


class Tracing:
    """Writes `traceparent` into headers; `share` of the traces is sampled, and with 0 no header is written."""

    def __init__(self, rules_id: str, row_interval_ns: int, share: float) -> None:
        self._rules_id, self._row_interval_ns = rules_id, row_interval_ns
        self._below = round(share * 256**_RANDOM_BYTES)

    def headers(self, topic: str, headers: Headers, received_ns: int = 0) -> Sequence[tuple[str, bytes]]:
        """Return headers with the trace of their record: of its row border, or of the one behind `received_ns`.

        A record that has a trace keeps it; a dead letter, and what belongs to no border, gets none.
        """
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        if not self._below or topic == DEAD_LETTER:
            return pairs
        known = dict(pairs)
        border_ns = _border_ns(known) or -(-received_ns // self._row_interval_ns) * self._row_interval_ns
        if TRACEPARENT in known or border_ns <= 0:
            return pairs
        identity = b"\0".join((topic.encode(), b"%d" % received_ns, *(value for _, value in pairs)))
        return [*pairs, (TRACEPARENT, self.traceparent(border_ns, identity))]

    def traceparent(self, border_ns: int, identity: bytes) -> bytes:
        """Return the header of one record of a border's trace; `identity` tells it from the others.

        >>> Tracing("0123456789ab", 1_000_000_000, 1.0).traceparent(1_767_225_601_000_000_000, b"a")
        b'00-7388d535c1b9a3c2cb8525b40e605f5e-3371acf9a5c8e52e-01'
        """
        trace = blake2b(f"{self._rules_id}@{border_ns}".encode(), digest_size=16).digest()
        span = blake2b(trace + identity, digest_size=8).hexdigest()
        sampled = int.from_bytes(trace[-_RANDOM_BYTES:]) < self._below
        return f"00-{trace.hex()}-{span}-{sampled:02x}".encode()


def _border_ns(headers: Mapping[str, bytes]) -> int:
    """Return the border that headers name: a row's, or the origin of a forecast and its attention."""
    told = headers.get("row_time_ns")
    if told is None and headers.get("ce_type", b"") in {b"foreshock.forecast.v1", b"foreshock.attention.v1"}:
        told = headers["ce_id"].rpartition(b"@")[2]
    return int(told) if told is not None and told.isdigit() else 0
