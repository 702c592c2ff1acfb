"""Answers of a venue's REST interface among its frames: `{"url": ..., "data": <the answer>}`.

Captures write them so (streams/sources/captures/cryptofeed_raw.py), and so may a feed handler that
asks for snapshots of books: most answers do not say which instrument they are of.
"""

from urllib.parse import parse_qs, urlsplit

import msgspec

from streams.formats.fields import read

_BEGINNING = b'{"url":'


class RestAnswer(msgspec.Struct, frozen=True, gc=False):
    """What a venue answered to a request for `url`."""

    url: str
    data: msgspec.Raw

    @property
    def path(self) -> str:
        """The path of the request, without its last slash, "" where the URL is none."""
        try:
            return urlsplit(self.url).path.rstrip("/")
        except ValueError:
            return ""

    def argument(self, name: str) -> str:
        """Return an argument of the request, "" where it has none."""
        try:
            return parse_qs(urlsplit(self.url).query).get(name, [""])[0]
        except ValueError:
            return ""


_ANSWER = msgspec.json.Decoder(RestAnswer)


def rest_answer(value: bytes) -> RestAnswer | None:
    """Return the answer that a frame holds, None for a frame of the stream; raises DecodeError.

    >>> answer = rest_answer(b'{"url":"https://x/v1/depth?symbol=BTC&limit=5","data":[]}')
    >>> answer.path, answer.argument("symbol"), bytes(answer.data)
    ('/v1/depth', 'BTC', b'[]')
    >>> rest_answer(b'{"topic":"x"}') is None
    True
    """
    return read(_ANSWER, value) if value.startswith(_BEGINNING) else None
