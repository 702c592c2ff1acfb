"""Bitfinex's stream (version 2), which is not read: its frames do not say what they are of.

A frame of data is `[channel number, ...]`. The number stands for a channel and a symbol in the answer
to a subscription alone, on that connection, so no frame can be read by itself.

https://docs.bitfinex.com/docs/ws-general
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas import DecodeError, LeftOut
from streams.formats.fields import Number, read, shown
from streams.formats.rest import rest_answer

FORMAT = "bitfinex-websocket"


class _Told(msgspec.Struct, frozen=True, gc=False):
    event: Annotated[str, Meta(max_length=64)]


_TOLD = msgspec.json.Decoder(_Told)
_LIST = msgspec.json.Decoder(Annotated[list[msgspec.Raw], Meta(min_length=2, max_length=6)])
_NUMBER = msgspec.json.Decoder(Number)
_EVENTS = {
    **dict.fromkeys(("subscribed", "unsubscribed"), "subscription"),
    **dict.fromkeys(("info", "conf", "auth"), "notice"),
    "pong": "heartbeat",
    "error": "error",
}
"""Events, and how they are counted."""


def decode(value: bytes, source: str) -> LeftOut:  # noqa: ARG001 - the format is of one venue
    """Return what kind of frame it is; raises DecodeError."""
    if rest_answer(value) is not None:
        return LeftOut("instrument-list")
    if value.lstrip()[:1] == b"{":
        event = read(_TOLD, value).event
        if event not in _EVENTS:
            raise DecodeError(f"expected an event of Bitfinex, got {shown(event)}", path="$.event")
        return LeftOut(_EVENTS[event])
    number, data, *_ = read(_LIST, value)
    read(_NUMBER, number)
    return LeftOut("heartbeat" if bytes(data) == b'"hb"' else "channel-number-alone")
