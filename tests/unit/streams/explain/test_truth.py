"""Which shocks of the built-in market count, and what telling their driver is worth."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from schemas.rules import MINUTE_NS, SECOND_NS
from streams.explain.truth import Case, Shock, lone_shocks, rates, told_by
from streams.sources.market.news import Happening
from triton_models.explanation.explain import Explanation

T0 = 1_700_000_000 * SECOND_NS


def happening(second, jump, *, asset="BTC", mood="terrible"):
    told = T0 + round(second * SECOND_NS)
    return Happening(time_ns=told - SECOND_NS, receive_ns=told, asset=asset, jump=jump, mood=mood)


def found(*happenings, assets=("BTC", "ETH")):
    return list(lone_shocks(SimpleNamespace(assets=assets, happenings=happenings)))


def test_a_shock_is_explained_at_the_first_row_that_can_know_of_it():
    # 0s        1s        2s
    # [---------)[--------)      known at 0.4 s and at exactly 1 s: in the tiles that end at 1 s and 2 s
    assert found(happening(0.4, 0.85))[0] == Shock("BTC", T0 + SECOND_NS, 0.85, "score")
    assert found(happening(1.0, 0.5, mood=""))[0] == Shock("BTC", T0 + 2 * SECOND_NS, 0.5, "flow")


def test_a_shock_stands_alone_or_does_not_count():
    assert len(found(happening(0, 0.85), happening(130, 0.85))) == 2
    assert [shock.row_time_ns for shock in found(happening(0, 0.85), happening(60, 0.85))] == [T0 + SECOND_NS]
    assert found(happening(0.1, 0.85), happening(0.7, 0.2)) == []  # one row knows of both
    assert len(found(happening(0, 0.85), happening(60, 0.0))) == 1  # noise is no shock


def test_a_weak_shock_does_not_count_but_disturbs():
    assert found(happening(0, 0.3)) == []
    assert found(happening(0, 0.3), happening(60, 0.85)) == []


def test_a_shock_of_the_whole_market_is_one_of_each_asset_and_disturbs_all():
    assert [shock.asset for shock in found(happening(0, 0.85, asset="*"))] == ["BTC", "ETH"]
    assert [shock.asset for shock in found(happening(0, 0.3, asset="*"), happening(60, 0.85))] == []
    assert [shock.asset for shock in found(happening(0, 0.3, asset="ETH"), happening(60, 0.85))] == ["BTC"]


def test_the_market_has_enough_of_them():
    told = told_by(3600)
    shocks = list(lone_shocks(told))
    assert len(shocks) >= 25
    assert {shock.driver for shock in shocks} == {"score", "flow"}
    times = [shock.row_time_ns for shock in shocks if shock.asset == "BTC"]
    assert min(np.diff(times)) > 2 * MINUTE_NS


def test_rates_count_who_puts_the_driver_first():
    def case(shapley, attention):
        shares = {"shapley": shapley, "attention": attention}
        nothing = dict.fromkeys(shares, math.nan)
        explanation = Explanation(
            "1m", ("flow", "score"), 0.0, 0.0, shares, {}, 0.0, 1.0, nothing, {"shapley": 0.5, "attention": math.nan}
        )
        return Case(Shock("BTC", T0, 0.85, "score"), explanation)

    right, wrong = {"flow": 0.1, "score": 0.6}, {"flow": 0.2, "score": 0.1}
    lower = {"flow": -0.9, "score": 0.0}  # nothing raised the forecast: no driver is named
    told = rates([case(right, wrong), case(right, right), case(lower, wrong), case(right, wrong)])
    assert told.first["shapley"].mean == pytest.approx(0.75)
    assert told.first["attention"].mean == pytest.approx(0.25)
    assert told.agreement["shapley"] == (0.5, 0.5, 0.5, 4)
    assert told.agreement["attention"].forecasts == 0
