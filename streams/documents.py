"""The generated parts of the documents: settings in the README, pages of topics and metrics.

`python -m streams.documents` writes them; a test holds what is committed against what this makes.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from deploy.cache import CHECKOUT
from featurestore.table import NUMBERED, lines
from schemas.asyncapi import write as write_schemas
from schemas.metrics import METRICS
from schemas.rules import TICKS
from schemas.topics import topics
from streams.settings import describe

_FEATURES = (
    f"The {len(NUMBERED)} numbered themes, then what is beside them. A column of a row is named quantity_window "
    "(`realised_variance_5m`), one without a window by its quantity alone.\n\n"
)
_BEGIN, _END = "<!-- settings -->", "<!-- end of settings -->"


def generated(checkout: Path = CHECKOUT) -> dict[Path, str]:
    """Return the text of every file with a generated part."""
    readme = checkout / "README.md"
    docs = checkout / "deploy" / "docs"
    return {
        readme: _with_settings(readme.read_text()),
        docs / "topics.md": _page("Topics", "schemas/topics.py", topics_table()),
        docs / "metrics.md": _page("Metrics", "schemas/metrics.py", metrics_table()),
        docs / "features.md": _page("Features", "featurestore/features", _FEATURES + features_table()),
    }


def settings_table() -> str:
    """Return the settings as a Markdown table."""
    return _table(("variable", "default", "unit", "meaning"), describe())


def topics_table() -> str:
    """Return the topics as a Markdown table."""
    rows = []
    for topic in topics(TICKS).values():
        kept = "the last of each key" if topic.compacted else "for ever"
        records = ", ".join(topic.records)
        rows.append((f"`{topic.name}`", topic.meaning, topic.key, topic.content, records, str(topic.partitions), kept))
    return _table(("topic", "meaning", "key", "content", "records", "partitions", "kept"), rows)


def metrics_table() -> str:
    """Return the metrics as a Markdown table."""
    rows = [(f"`{metric.name}`", metric.kind, ", ".join(metric.labels), metric.meaning) for metric in METRICS]
    return _table(("metric", "kind", "labels", "meaning"), rows)


def features_table() -> str:
    """Return the quantities as a Markdown table; a column's name is quantity and window."""
    rows = []
    for line in lines():
        windows = "; ".join(f"{profile} {' '.join(each)}" for profile, each in line.windows.items())
        inputs = " ".join(line.spec.inputs)
        rows.append(
            (
                line.number,
                line.theme,
                f"`{line.spec.quantity}`",
                _readable(line.what),
                windows,
                line.source,
                line.spec.unit,
                inputs,
            )
        )
    return _table(("number", "theme", "quantity", "what", "windows", "source", "unit", "made of"), rows)


def _readable(text: str) -> str:
    """Return a text whose sizes |x| do not end a cell of a table."""
    return re.sub(r"\|([^|]+)\|", r"abs(\1)", text)


def _with_settings(readme: str) -> str:
    before, _, rest = readme.partition(_BEGIN)
    return f"{before}{_BEGIN}\n\n{settings_table()}\n{_END}{rest.partition(_END)[2]}"


def _page(title: str, source: str, table: str) -> str:
    return f"# {title}\n\nMade from `{source}` by `python -m streams.documents`.\n\n{table}"


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', ', ') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text)
    write_schemas(CHECKOUT / "deploy" / "docs", TICKS)
