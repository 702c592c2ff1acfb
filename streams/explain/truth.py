"""Explanations against the truth: the built-in market knows which record moved its volatility.

A shock counts where it stands alone. It is explained at the first row that can know of it, seconds
before it moves a price, against the same instrument ten seconds earlier; its driver must have the
largest positive share in the change of the forecast of the shortest horizon. Over a longer while
quotes change the forecast too, and rightly: the market's roughness is a driver that no record tells of.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from featurestore.catalogue import Catalogue
from schemas import PROFILES
from schemas.instruments import ANY_ASSET, base_asset
from schemas.rules import MINUTE_NS, SECOND_NS
from streams.backfill import backfill_messages
from streams.sources.market import INSTRUMENTS, Truth, market, truth
from streams.sources.market.news import Happening
from triton_models.bundle import Spec
from triton_models.dataset import RowTable, read_rows
from triton_models.explanation.coalitions import Tensors
from triton_models.explanation.explain import Explanation, explain
from triton_models.explanation.faithfulness import Estimate, estimate, largest
from triton_models.pinned import Pinned
from triton_models.predictor import Predictor

SEED = 7
START_NS = 20_455 * 24 * 60 * MINUTE_NS
"""2026-01-02, another seed and another year than the market of training."""
INTENSITY = 0.2
"""As in training."""
LEAST_JUMP = 0.4
"""Log-variance that a shock adds at least."""
ALONE_NS = 2 * MINUTE_NS
"""No other shock of the asset became known so long before."""
BEFORE_NS = 10 * SECOND_NS
"""How much earlier the reference is."""
_PLAYED = ("binance:BTC-USDT", "binance-usdm:ETH-USDT-PERP", "bybit:SOL-USDT-PERP")
"""One instrument per asset: those of one asset share their price, so more would count a shock twice."""


class Shock(NamedTuple):
    """A shock of one asset that stands alone."""

    asset: str
    row_time_ns: int
    """The first row that can know of it."""
    jump: float
    driver: str
    """The modality that told of it."""


class Case(NamedTuple):
    """One explained shock."""

    shock: Shock
    explanation: Explanation


class Rates(NamedTuple):
    """How often each method ranked the driver first, and how faithful it was."""

    first: dict[str, Estimate]
    agreement: dict[str, Estimate]
    """Rank correlation with leave-one-out."""
    deletion: dict[str, Estimate]
    """Gain over deletion in random order."""


def lone_shocks(told: Truth) -> Iterator[Shock]:
    """Yield the shocks that stand alone, asset by asset, in the order in which they became known."""
    for asset in told.assets:
        jumps = sorted(
            (each for each in told.happenings if each.jump and each.asset in {asset, ANY_ASSET}),
            key=lambda each: each.receive_ns,
        )
        for place, each in enumerate(jumps):
            row_ns = _row_time_ns(each)
            others = jumps[:place] + jumps[place + 1 :]
            alone = not any(row_ns - ALONE_NS <= other.receive_ns < row_ns for other in others)
            if alone and each.jump >= LEAST_JUMP:
                yield Shock(asset, row_ns, each.jump, "score" if each.mood else "flow")


def market_rows(spec: Spec, seconds: int, path: Path, seed: int = SEED) -> RowTable:
    """Return the rows that a market makes for a model, through the backfill; `path`: a Parquet file for them."""
    rules = PROFILES["ticks"]
    pinned = Pinned(spec.features, spec.modalities, spec.modality_of, spec.feature_set_id)
    played = tuple(each for each in INSTRUMENTS if each.instrument_id in _PLAYED)
    messages = market(seed, START_NS, seconds, instruments=played, intensity=INTENSITY)
    backfill_messages(messages, rules, rows=path, catalogue=Catalogue.discover(rules).subset(pinned.features))
    return read_rows(path, pinned, row_interval_ns=rules.row_interval_ns)


def explain_shocks(
    predictor: Predictor,
    table: RowTable,
    told: Truth,
    before_ns: int = BEFORE_NS,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Case]:
    """Return the explanation of each shock whose rows are there, with filled windows, now and before."""
    spec = predictor.bundle.spec
    shocks = list(lone_shocks(told))
    cases = []
    for place, shock in enumerate(shocks):
        progress(place / len(shocks))
        pair = _pair(table, shock, before_ns, spec.intervals)
        if pair is not None:
            found = explain(
                predictor,
                *pair,
                horizon=spec.horizons[0],
                origin_time_ns=shock.row_time_ns,
                forecast_id=f"{shock.asset}@{shock.row_time_ns}",
            )
            cases.append(Case(shock, found))
    return cases


def rates(cases: Iterable[Case]) -> Rates:
    """Return what the methods got right, with confidence intervals over shocks."""
    held = list(cases)
    methods = list(held[0].explanation.shares) if held else []
    return Rates(
        {method: estimate([_is_first(case, method) for case in held]) for method in methods},
        {method: estimate([case.explanation.agreement[method] for case in held]) for method in methods},
        {method: estimate([case.explanation.deletion[method] for case in held]) for method in methods},
    )


def told_by(seconds: int, seed: int = SEED) -> Truth:
    """Return the truth of the market of `market_rows`."""
    return truth(seed, START_NS, seconds)


def _row_time_ns(happening: Happening) -> int:
    """Return the end of the tile in which a happening became known."""
    return (happening.receive_ns // SECOND_NS + 1) * SECOND_NS


def _is_first(case: Case, method: str) -> float:
    shares = case.explanation.shares[method]
    place = largest(np.array(list(shares.values())))
    return float(place >= 0 and list(shares)[place] == case.shock.driver)


def _pair(table: RowTable, shock: Shock, before_ns: int, intervals: int) -> tuple[Tensors, Tensors] | None:
    """Return the tensors at a shock and before it, None where either is not there or still fills its windows."""
    of_asset = [place for place, name in enumerate(table.instruments) if base_asset(name) == shock.asset]
    found = []
    for time_ns in (shock.row_time_ns, shock.row_time_ns - before_ns):
        (rows,) = np.nonzero(np.isin(table.instrument, of_asset[:1]) & (table.row_time_ns == time_ns))
        if not len(rows):
            return None
        tensors = Tensors(*(part[0] for part in table.windows(rows, intervals)))
        driven = [index for index, name in enumerate(table.pinned.modalities) if name == shock.driver]
        columns = np.isin(table.pinned.modality_of, driven)
        if not (tensors.mask[:, 0] > 0).all() or not tensors.mask[-1, columns].any():
            return None
        found.append(tensors)
    return found[0], found[1]
