"""The page answers pages of its own, at names of this machine; its headers let nothing else in."""

import asyncio

import pytest
from aiohttp.test_utils import TestClient, TestServer

from streams.settings import Settings
from streams.view.server import ViewServer


def answer(method, path, headers, host="127.0.0.1"):
    async def ask():
        server = ViewServer(Settings(), host)
        application = server.application()
        application.cleanup_ctx.clear()  # no broker, no threads
        async with TestClient(TestServer(application)) as client:
            found = await client.request(method, path, headers=headers)
            return found.status, dict(found.headers), await found.text()

    return asyncio.run(ask())


def test_the_page_comes_with_a_policy_that_lets_nothing_foreign_in():
    status, headers, text = answer("GET", "/", {})
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "<script>" not in text
    assert "style=" not in text


@pytest.mark.parametrize("path", ["/", "/about", "/events", "/static/main.js"])
def test_a_foreign_name_for_this_machine_is_refused(path):
    assert answer("GET", path, {"Host": "evil.example"})[0] == 403


@pytest.mark.parametrize("headers", [{}, {"X-Foreshock-View": "1", "Origin": "http://evil.example"}])
def test_other_pages_cannot_have_anything_computed(headers):
    assert answer("POST", "/compute/doctor", headers)[0] == 403


def test_a_page_for_others_computes_nothing():
    headers = {"Host": "example.org", "X-Foreshock-View": "1", "Origin": "http://example.org"}
    status, _, text = answer("POST", "/compute/rebuild", headers, host="0.0.0.0")
    assert (status, "command line" in text) == (403, True)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/events?horizon=7m", 400),
        ("/older?instrument=x&horizon=1m&before=-1", 400),
        ("/older?instrument=x&horizon=1m&before=9e9", 400),
        ("/forecast?id=nothing", 404),
        ("/static/../server.py", 404),
    ],
)
def test_what_cannot_be_meant_is_answered_with_what_is_expected(path, status, monkeypatch):
    monkeypatch.setattr("streams.view.server.LogReader", _NoLog)
    assert answer("GET", path, {})[0] == status


class _NoLog:
    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
