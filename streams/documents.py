"""The generated parts of the documents: settings in the README, pages of topics and metrics.

`python -m streams.documents` writes them; a test holds what is committed against what this makes.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from deploy.cache import CHECKOUT
from featurestore.table import NUMBERED, lines
from schemas.access import ACCESS
from schemas.asyncapi import write as write_schemas
from schemas.foreign_metrics import FOREIGN_METRICS
from schemas.metric import Metric
from schemas.metrics import METRICS
from schemas.rules import TICKS
from schemas.topics import topics
from streams.settings import describe

_FEATURES = (
    f"The {len(NUMBERED)} numbered themes, then what is beside them. A column of a row is named quantity_window "
    "(`realised_variance_5m`), one without a window by its quantity alone.\n\n"
)
_METRICS = """\
Every process serves its own on `FORESHOCK_METRICS_PORT`, at `/metrics`; which those are is in `told by`. Times are in
seconds, sizes in bytes, shares from 0 to 1. Label sets are closed: at most 100 venues, and of instruments those that
`FORESHOCK_METRICS_INSTRUMENTS` names. Rows, forecasts and lags of a replay are as old as its recording: what compares
times with now asks `foreshock_live` first.

"""
_FOREIGN = """\
## Of others

What rules, alerts and dashboards name besides. The recording rules of `deploy/monitoring/recording.yaml` turn Triton's
microseconds into seconds.

"""
_SECURITY = """\
Kafka is connected to by TLS and a user with a password (SASL/SCRAM), or by a client's certificate, where
`FORESHOCK_KAFKA_SECURITY` says so; Triton by TLS where `FORESHOCK_TRITON_TLS` does. All settings are in the README.

* A password is best kept in a file (`FORESHOCK_KAFKA_PASSWORD_FILE`); it is read anew by each client that connects.
  Wherever settings are shown it is `********`.
* A wrong password, a certificate that nobody signed and a missing rule end a process at its start, with one line that
  says which. A rule that is taken away later ends it too.
* `foreshock topics allow`, as the broker's administrator, sets the rules below; any other access is refused by a broker
  with `allow.everyone.if.no.acl.found=false`. Topics are created, and features and versions of models announced, by
  the administrator. `foreshock doctor` as a stage's user says what this user cannot see.
* Triton has no users: whoever has a certificate that its authority signed (`--grpc-use-ssl-mutual=true`) may ask.

A secured broker on this machine, with certificates and passwords made by openssl into its folder:

```sh
foreshock up --name secured --kafka-only --secured     # prints where the users' settings are
. FOLDER/admin.env && foreshock topics apply && foreshock features announce && foreshock topics allow
(. FOLDER/ingest.env && foreshock ingest) &
(. FOLDER/featurize.env && foreshock featurize) &
```

A user is named as its stage, `replay` stands for whoever writes raw records, `consumer` for whoever reads forecasts.
Reading and writing include describing a topic and its settings; a group is the beginning of names of consumer groups.

"""
_BEGIN, _END = "<!-- settings -->", "<!-- end of settings -->"


def generated(checkout: Path = CHECKOUT) -> dict[Path, str]:
    """Return the text of every file with a generated part."""
    readme = checkout / "README.md"
    docs = checkout / "deploy" / "docs"
    return {
        readme: _with_settings(readme.read_text()),
        docs / "topics.md": _page("Topics", "schemas/topics.py", topics_table()),
        docs / "metrics.md": _page("Metrics", "schemas/metrics.py", _metrics_page()),
        docs / "security.md": _page("Security", "schemas/access.py", _SECURITY + access_table()),
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


def access_table() -> str:
    """Return who may read and write what as a Markdown table."""
    rows = []
    for user, access in ACCESS.items():
        groups = " ".join(f"`{name}*`" for name in access.groups)
        rows.append((f"`{user}`", " ".join(access.reads), " ".join(access.writes), groups))
    return _table(("user", "reads", "writes", "groups"), rows)


def metrics_table(metrics: Sequence[Metric]) -> str:
    """Return metrics as a Markdown table."""
    rows = [(f"`{one.name}`", one.kind, ", ".join(one.labels), ", ".join(one.by), one.meaning) for one in metrics]
    return _table(("metric", "kind", "labels", "told by", "meaning"), rows)


def _metrics_page() -> str:
    return f"{_METRICS}{metrics_table(METRICS)}\n{_FOREIGN}{metrics_table(FOREIGN_METRICS)}"


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
