"""The rules of time: what decides lateness, tiles and rows (DESIGN 4), and their name."""

import hashlib

import msgspec

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that decide what rows say; all times in nanoseconds.

    Two workers with another `rules_id` would write different rows from one log, so the id is in
    checkpoints and row ids, and a worker that finds another one refuses to start.
    """

    allowed_lateness_ns: int = 2_500_000_000
    """How far behind its venue's clock an event may come."""
    idle_timeout_ns: int = 5 * SECOND_NS
    """A venue that sent no event-time record for so long no longer holds the watermark."""
    max_venue_lag_ns: int = 10 * SECOND_NS
    """A venue's clock counts as at most this far behind the receive time."""
    future_ns: int = 60 * SECOND_NS
    """An event further ahead of the receive time than this is not believed."""
    tile_interval_ns: int = SECOND_NS
    row_interval_ns: int = SECOND_NS
    listing_ns: int = 15 * MINUTE_NS
    """A row lists the instruments with an event of their own in this time before it."""
    never_ns: int = DAY_NS
    """An age above this is told as "never"."""
    raw_partitions: dict[str, int] = msgspec.field(
        default_factory=lambda: {
            "raw.exchange.v1": 4,
            "raw.onchain.v1": 1,
            "raw.sentiment.v1": 1,
        }
    )
    """Partitions of the raw topics: a row waits for the progress of each of them."""
    partitions: int = 4
    """Partitions of every canonical, market, row and forecast topic."""

    @property
    def rules_id(self) -> str:
        """Return the name of these rules: 12 hex digits of the SHA-256 of their values.

        >>> len(Rules().rules_id)
        12
        """
        encoded = msgspec.json.encode(self, order="sorted")
        return hashlib.sha256(encoded).hexdigest()[:12]


TICKS = Rules()
BARS = Rules(tile_interval_ns=5 * MINUTE_NS, row_interval_ns=5 * MINUTE_NS, listing_ns=HOUR_NS)
PROFILES = {"ticks": TICKS, "bars": BARS}
