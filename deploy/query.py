"""Questions to the local Prometheus and Alertmanager, by their HTTP APIs."""

import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import urlencode

from schemas.errors import StackError

_ANSWER_SECONDS = 10.0


class Sample(NamedTuple):
    """One series of an answer: its labels, and its value now."""

    labels: dict[str, str]
    value: float


def query(address: str, expression: str) -> list[Sample]:
    """Return what Prometheus at host:port answers to PromQL now; raises StackError."""
    found = _get(address, f"/api/v1/query?{urlencode({'query': expression})}")
    return [Sample(one["metric"], float(one["value"][1])) for one in found["data"]["result"]]


def firing(address: str) -> set[str]:
    """Return the names of the alerts that Alertmanager at host:port has been told of and that have not ended."""
    return {alert["labels"]["alertname"] for alert in _get(address, "/api/v2/alerts?active=true")}


def _get(address: str, path: str) -> Any:
    connection = http.client.HTTPConnection(address, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise StackError(f"{address} does not answer: {error}\nStart it: foreshock up --monitoring") from None
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise StackError(f"{address}{path.partition('?')[0]}: {answer.status}: {text[:300].decode(errors='replace')}")
    return json.loads(text)
