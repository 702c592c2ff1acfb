"""Which feature sets may be announced; nothing is sent here."""

import pytest

from featurestore.catalogue import Catalogue, FeatureSpec
from schemas.errors import FeatureError, StateError
from schemas.forecasts import Announcement
from schemas.rules import MINUTE_NS
from streams import announcements
from streams.announcements import announce, require_announced
from streams.settings import Settings


def catalogue(version):
    feature = FeatureSpec(
        name="spread_1m",
        quantity="spread",
        window_ns=MINUTE_NS,
        inputs=("mid",),
        function=lambda mid: mid.sum(-1),
        plain=lambda mid: mid.sum(-1),
        version=version,
        file="mine.py",
    )
    return Catalogue(tiles=(), derived=(), features=(feature,))


def announced(version):
    return Announcement(border_ns=0, feature_set_id="0123456789ab", features={"spread_1m": version})


def test_what_is_announced_already_is_not_announced_again(monkeypatch):
    monkeypatch.setattr(announcements, "announcements", lambda _: [announced("2-aaa")])
    assert announce(Settings(), catalogue("2-aaa")) == announced("2-aaa")


def test_changed_code_under_an_unchanged_version_is_not_announced(monkeypatch):
    monkeypatch.setattr(announcements, "announcements", lambda _: [announced("2-aaa")])
    with pytest.raises(FeatureError, match=r"mine.py spread: its code or inputs changed under version='2'"):
        announce(Settings(), catalogue("2-bbb"))


def test_a_worker_with_other_code_than_was_announced_says_what_to_do():
    require_announced(catalogue("aaa"), [announced("aaa")])
    with pytest.raises(StateError, match="feature spread_1m is new or changed; run `foreshock features announce`"):
        require_announced(catalogue("bbb"), [announced("aaa")])
    with pytest.raises(StateError, match="no feature set is announced; run `foreshock features announce`"):
        require_announced(catalogue("aaa"), [])
