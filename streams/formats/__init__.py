"""What raw frames say: one file a format, found by being there.

A format is a module here with `FORMAT`, the name in a raw message's `format` header (or a tuple of
names), and `decode(value, source)`: the events and changes of books of one frame, or `LeftOut` where
the frame is recognised and not read. It raises DecodeError, and nothing else, on any other bytes.
Modules without `FORMAT` hold what formats share.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType

from schemas import Event, ForeshockError, LeftOut
from streams.formats.book import BookChange
from streams.formats.run import DecodeRun

Decode = Callable[[bytes, str], Sequence[Event | BookChange] | LeftOut]
"""Turns the value and the source of a raw message into its events and changes of books."""

AGGREGATE = "agg"
"""The `id` of a trade that sums up several: aggregates are numbered apart from single trades."""


@cache
def formats() -> Mapping[str, Decode]:
    """Return the decoder of every format by name.

    >>> sorted(formats())[:2]
    ['bars', 'binance-combined']
    """
    found: dict[str, Decode] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        named = getattr(module, "FORMAT", ())
        for format_name in (named,) if isinstance(named, str) else named:
            if format_name in found:
                raise ForeshockError(f"streams/formats/{name}.py: the format {format_name!r} is there twice")
            found[format_name] = module.decode
    return MappingProxyType(found)


@cache
def run_decoders() -> Mapping[str, DecodeRun]:
    """Return what reads many frames at once, by format, for those that have it: a module with `RUN_OF`.

    >>> sorted(run_decoders())
    ['binance-combined']
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return MappingProxyType({module.RUN_OF: module.decode_run for module in modules if hasattr(module, "RUN_OF")})
