"""Reads the metrics of our own processes back: what the demo's screen and the tests look at."""

import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from schemas.metric import Metric
from schemas.metrics import OFFSET_LAG, WATERMARK
from streams.metrics_server import LOOPBACK

_TIMEOUT_SECONDS = 2.0

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Sample name and sorted labels to value, summed over processes."""


def scrape(ports: Iterable[int]) -> Samples | None:
    """Return the samples of the processes on these loopback ports; None while one does not answer."""
    samples: Samples = defaultdict(float)
    for port in ports:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=_TIMEOUT_SECONDS) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name, tuple(sorted(sample.labels.items()))] += sample.value
    return samples


def by_label(samples: Samples, metric: Metric, label: str) -> Counter[str]:
    """Return the values of a metric summed by one label."""
    found: Counter[str] = Counter()
    for (name, labels), value in samples.items():
        if name == metric.name:
            found[dict(labels).get(label, "")] += int(value)
    return found


def total(samples: Samples, metric: Metric) -> float:
    """Return the sum of a metric over all labels."""
    return sum(value for (name, _), value in samples.items() if name == metric.name)


def reads_all(samples: Samples | None, topics: Iterable[str], partitions: int) -> bool:
    """Return whether every partition of `topics` has a reader that knows its lag."""
    if samples is None:
        return False
    known = {(dict(labels)["topic"], dict(labels)["partition"]) for name, labels in samples if name == OFFSET_LAG.name}
    return all((topic, str(partition)) in known for topic in topics for partition in range(partitions))


def rows_are_written(samples: Samples, partitions: int, row_interval_seconds: float) -> bool:
    """Return whether rows are written up to the last border that ingest's progress completes."""
    borders: dict[str, list[float]] = {"ingest": [], "featurize": []}
    for (name, labels), value in samples.items():
        if name == WATERMARK.name:
            borders[dict(labels)["stage"]].append(value)
    if not borders["ingest"] or len(borders["featurize"]) < partitions:
        return False
    last = min(borders["ingest"]) // row_interval_seconds * row_interval_seconds
    return min(borders["featurize"]) >= last
