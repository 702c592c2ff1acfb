"""The first lines of a new file of features: they pass all checks as they are."""

import keyword
import re
from pathlib import Path

from featurestore.catalogue import FEATURES, declarations_in
from featurestore.specs import window_ns_of
from schemas import EVENTS
from schemas.errors import FeatureError

_NAME = re.compile(r"[a-z][a-z0-9_]{1,47}")
_NUMBERS = {
    "trade": ("size", "Traded size", "base units"),
    "quote": ("bid_size", "Size at the best bid, added up over the quotes", "base units"),
    "depth": ("bid_size_1", "Size at the best bid, added up over the samples", "base units"),
    "derivative": ("funding_rate", "Funding rates, added up", "ratio"),
    "liquidation": ("size", "Liquidated size", "base units"),
    "option": ("open_interest", "Open interest, added up", "base units"),
    "bar": ("volume", "Volume of the bars", "base units"),
    "flow": ("amount_usd", "Value moved", "US dollars"),
    "score": ("score", "Sentiment scores, added up", "score"),
}
_TEMPLATE = '''"""{title}."""

import numpy as np

from featurestore import feature, tile
from schemas import {event}


@tile({event}, combine="sum")
def {name}_sum({field}):
    """{what}, in {unit}."""
    return np.nansum({field})


@feature(window="{window}")
def {name}({name}_sum):
    """{what}, in {unit}."""
    return {name}_sum.sum(-1)
'''


def new_file(name: str, record: str, window: str, folder: Path = FEATURES) -> Path:
    """Write a file with one tile of `record` and one feature over `window`, and return its path.

    Raises FeatureError where the name is none, or the file is there already.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise FeatureError(f"{name!r}: expected a name in small letters, digits and _, such as order_flow_imbalance")
    if record not in _NUMBERS:
        raise FeatureError(f"--record {record!r}: expected one of {', '.join(_NUMBERS)}")
    window_ns_of(window)
    for declaration in declarations_in([folder]):
        if declaration.name in (name, f"{name}_sum"):
            raise FeatureError(
                f"{declaration.path.name} has a {declaration.kind} {declaration.name!r}: choose another name"
            )
    path = folder / f"{name}.py"
    if path.exists():
        raise FeatureError(f"{path.name} is there already: choose another name, or edit it")
    field, what, unit = _NUMBERS[record]
    words = name.replace("_", " ").capitalize()
    event = EVENTS[record].__name__
    text = _TEMPLATE.format(title=words, event=event, name=name, field=field, what=what, unit=unit, window=window)
    path.write_text(text)
    return path
