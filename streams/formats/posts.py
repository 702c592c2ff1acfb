"""News and social posts: plain JSON, or one RSS item or Atom entry as XML; scored by VADER.

JSON: `text` or `title` (or both), and what is known of `id`, `url` and `published`, under the usual
names. A post gives a score for each of the `assets` that its feed names, or else that its text
mentions; one that mentions none gives a score that concerns all.

Hutto and Gilbert 2014, "VADER: a parsimonious rule-based model for sentiment analysis".
"""

import hashlib
import html
import re
from functools import cache
from itertools import islice
from typing import Annotated, Any
from xml.etree import ElementTree as ET

import msgspec
from msgspec import Meta
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from schemas import DecodeError, Event, LeftOut, Score
from schemas.instruments import ANY_ASSET
from streams.formats.assets_in_text import assets_in
from streams.formats.fields import MAX_FRAME_BYTES, read, shown, time_ns

FORMAT = "posts"

MAX_CHARACTERS = 4_000
"""What counts of a post: VADER's time grows faster than the text."""
_MAX_SYMBOLS = 50
"""Emoji that count: VADER spells each out, and 4,000 of them cost seconds."""
_MAX_ID = 128
_TAG = re.compile(r"<[^<>]{0,1000}>")
_SPACE = re.compile(r"\s+")
_SYMBOL = re.compile(r"[^\w\s\x00-\x7f]")
_XML_FIELDS = {
    "title": "title",
    "description": "text",
    "summary": "text",
    "content": "text",
    "encoded": "text",
    "guid": "id",
    "id": "id",
    "link": "url",
    "pubDate": "published",
    "published": "published",
    "updated": "published",
    "date": "published",
}
"""Element of RSS, Atom or Dublin Core, without its namespace, to our name."""


class Post(msgspec.Struct, frozen=True, gc=False):
    """A post as JSON; further fields are ignored."""

    title: str | None = None
    text: str | None = None
    summary: str | None = None
    description: str | None = None
    body: str | None = None
    content: str | None = None
    id: int | str | None = None
    guid: str | None = None
    url: str | None = None
    link: str | None = None
    published: int | float | str | None = None
    published_at: int | float | str | None = None
    created_at: int | float | str | None = None
    timestamp: int | float | str | None = None
    assets: Annotated[list[Annotated[str, Meta(pattern="^[A-Z0-9]{1,20}$")]], Meta(max_length=50)] | None = None


_POST = msgspec.json.Decoder(Post)


def decode(value: bytes, source: str) -> list[Event] | LeftOut:
    """Return the scores of one post of `source`, one for each asset; raises DecodeError."""
    if len(value) > MAX_FRAME_BYTES:
        raise DecodeError(f"expected at most {MAX_FRAME_BYTES} bytes, got {len(value)}")
    post = _read_xml(value) if value.lstrip()[:1] == b"<" else read(_POST, value)
    text = _plain(" ".join(part for part in _parts(post) if part))
    if not text:
        raise DecodeError("expected a title or a text, got neither")
    time = _first(post, "published", "published_at", "created_at", "timestamp")
    event_time_ns = 0 if time is None else time_ns(time, "$.published")
    identity = _identity(_first(post, "id", "guid", "url", "link"))
    sentiment = float(_analyser().polarity_scores(text)["compound"])
    words = text.count(" ") + 1
    return [
        Score(
            instrument_id=asset,
            venue=source,
            event_time_ns=event_time_ns,
            id=identity,
            score=sentiment,
            words=words,
        )
        for asset in sorted(set(post.assets or ())) or assets_in(text) or [ANY_ASSET]
    ]


def _parts(post: Post) -> list[str | None]:
    return [post.title, _first(post, "text", "summary", "description", "body", "content")]


def _first(post: Post, *names: str) -> Any:
    return next((value for name in names if (value := getattr(post, name)) not in (None, "")), None)


def _plain(markup: str) -> str:
    """Return text without markup, its white space single, cut to the last whole word."""
    text = html.unescape(_TAG.sub(" ", markup[: 4 * MAX_CHARACTERS]))
    text = _few_symbols(_SPACE.sub(" ", _TAG.sub(" ", text)).strip())
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS].rpartition(" ")[0] or text[:MAX_CHARACTERS]


def _few_symbols(text: str) -> str:
    end = next(islice((match.end() for match in _SYMBOL.finditer(text)), _MAX_SYMBOLS, None), len(text))
    return text[:end] + _SYMBOL.sub("", text[end:])


def _identity(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _MAX_ID else hashlib.sha256(text.encode()).hexdigest()


def _read_xml(value: bytes) -> Post:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"expected UTF-8, got {value[:40]!r}: {error.reason}") from None
    # Entities are how a kilobyte becomes a gigabyte; a feed's entry needs none.
    if "<!" in text.replace("<![CDATA[", "").replace("<!--", ""):
        raise DecodeError("expected an entry without a document type, got one")
    try:
        root = ET.fromstring(text)  # noqa: S314 - no document type, no entities
    except (ET.ParseError, ValueError, LookupError, RecursionError) as error:
        raise DecodeError(f"expected an RSS item or Atom entry: {error}") from None
    if _local(root.tag) not in {"item", "entry"}:
        raise DecodeError(f"expected an item or an entry, got {shown(_local(root.tag))}", path="/")
    fields: dict[str, str] = {}
    for element in root:
        name = _XML_FIELDS.get(_local(element.tag))
        found = "".join(element.itertext()).strip() or element.get("href", "")
        if name and found:
            fields.setdefault(name, found)
    return msgspec.convert(fields, Post)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


@cache
def _analyser() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()
