"""What a metric is: name, kind, labels, unit, meaning, and who tells it."""

from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric; a counter's name ends in `_total`, a unit is part of the name. `by`: the stages that tell it."""

    name: str
    kind: Kind
    meaning: str
    by: tuple[str, ...]
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def counter(name: str, meaning: str, *labels: str, by: tuple[str, ...]) -> Metric:
    """Return a counter; its name is given without prefix and `_total`."""
    return Metric(name=f"foreshock_{name}_total", kind="counter", meaning=meaning, by=by, labels=labels)


def gauge(name: str, meaning: str, *labels: str, by: tuple[str, ...]) -> Metric:
    """Return a gauge; its name is given without prefix."""
    return Metric(name=f"foreshock_{name}", kind="gauge", meaning=meaning, by=by, labels=labels)


def histogram(name: str, buckets: tuple[float, ...], meaning: str, *labels: str, by: tuple[str, ...]) -> Metric:
    """Return a histogram; its name is given without prefix, its buckets in the metric's unit."""
    return Metric(name=f"foreshock_{name}", kind="histogram", meaning=meaning, by=by, labels=labels, buckets=buckets)
