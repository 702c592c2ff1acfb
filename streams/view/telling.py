"""What a page is sent: everything at first, then what changed since it was last told."""

from typing import Any, NamedTuple

import msgspec

from schemas.calibration import Calibration
from schemas.forecasts import Attention
from streams.view.instrument import Instrument
from streams.view.state import ViewState

_TOP_TOKENS = 8
_MOST_HEADS = 16
_MOST_NAMES = 24


class Wish(NamedTuple):
    """What a page shows: the horizon of its list, and the instrument it looks at ("": none)."""

    horizon: str
    instrument: str = ""


def news(state: ViewState, wish: Wish, since: int) -> dict[str, Any] | None:
    """Return what changed after version `since` for a page, None where nothing did."""
    changed = [one for one in state.instruments.values() if one.version > since]
    if not changed and since:
        return None
    told: dict[str, Any] = {
        "version": state.version,
        "whole": since == 0,
        "rows": [row(one, wish.horizon) for one in changed],
    }
    chosen = state.instruments.get(wish.instrument)
    if chosen is not None and chosen.version > since:
        told["detail"] = detail(chosen, wish.horizon, since)
    return told


def row(instrument: Instrument, horizon: str) -> dict[str, Any]:
    """Return an instrument's line in the list."""
    latest, state = instrument.latest, instrument.calibration.get(horizon)
    told: dict[str, Any] = {"name": instrument.name, "coverage": _coverage(state)}
    if latest is not None:
        told |= {
            "id": latest.id,
            "origin_ms": latest.origin_ms,
            "record_ms": latest.record_ms,
            "status": latest.status,
            "reason": latest.reason,
            "quality": latest.quality,
            "forecast": latest.horizons.get(horizon),
        }
    return told


def detail(instrument: Instrument, horizon: str, since: int) -> dict[str, Any]:
    """Return all that is shown of the chosen instrument, and the points of its chart after version `since`."""
    return {
        "name": instrument.name,
        "horizon": horizon,
        "latest": instrument.latest,
        "coverage": {each: _coverage(instrument.calibration.get(each)) for each in instrument.series},
        "attention": None if instrument.attention is None else _attention(instrument.attention),
        "explained": None if instrument.explained is None else _attention(instrument.explained),
        "ages": instrument.ages,
        "late": instrument.late,
        "points": instrument.series[horizon].points(since),
        "whole": since == 0,
    }


def _coverage(state: Calibration | None) -> dict[str, Any] | None:
    if state is None:
        return None
    so_far = state.coverage
    return {
        "ratio": so_far.ratio if so_far.count else state.coverage_ratio,
        "count": so_far.count or state.count,
        "recent_ratio": so_far.recent_ratio,
        "recent_count": so_far.recent_count,
        "regime": state.regime,
    }


def _attention(attention: Attention) -> dict[str, Any]:
    return {
        "id": attention.id,
        "origin_ns": str(attention.origin_time_ns),
        "modalities": dict(list(attention.modalities.items())[:_MOST_NAMES]),
        "faithfulness": attention.faithfulness,
        "contributions": {
            horizon: dict(list(shares.items())[:_MOST_NAMES])
            for horizon, shares in list(attention.contributions.items())[:_MOST_NAMES]
        },
        "heads": [
            {
                "half_life_seconds": head.half_life_seconds,
                "mean_look_back_seconds": head.mean_look_back_seconds,
                "entropy": head.entropy,
                "top": head.top[:_TOP_TOKENS],
            }
            for head in attention.heads[:_MOST_HEADS]
        ],
    }


def encoded(name: str, value: Any) -> bytes:
    r"""Return a server-sent event.

    >>> encoded("news", {"version": 3})
    b'event: news\ndata: {"version":3}\n\n'
    """
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(value) + b"\n\n"
