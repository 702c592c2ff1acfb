"""Dashboards: their JSON is what the modules say, and every query, label and link in it names what there is."""

import json
import re
from itertools import combinations

import promql_parser
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.dashboards.boards import BOARDS, FOLDER, generated, write
from deploy.dashboards.frame import TAG, others
from deploy.dashboards.limits import thresholds
from deploy.dashboards.promql import FOREIGN, OF_TARGETS, count, gauge, mean, quantile, rate, recorded, recorded_series
from deploy.dashboards.runbooks import alert_names, runbook_board, runbook_url
from deploy.monitoring.files import all_alerts
from schemas.errors import SettingsError
from schemas.metrics import LATE_EVENTS, METRICS, OFFSET_LAG, ROWS

BUILT = {path.stem: json.loads(text) for path, text in generated().items()}
RUNBOOKS = "foreshock-runbooks"
PANELS = [
    pytest.param(uid, panel, id=f"{uid}: {panel['title']}")
    for uid, board in BUILT.items()
    for panel in board.get("panels", ())
    if panel["type"] not in ("row", "text")
]
STANDINS = {"__rate_interval": "1m", "__range": "1h", "__all": ".+"}


def substituted(expression):
    """Return a query as Prometheus gets it."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: STANDINS.get(found[1], ".+"), expression)


def expressions(board):
    for panel in board.get("panels", ()):
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (annotation["expr"] for annotation in board.get("annotations", {}).get("list", ()))


def known_labels():
    """Labels by name of series: ours, those of others, and those that rules record."""
    known = {}
    for metric in (*METRICS, *FOREIGN.values()):
        labels = {*metric.labels, *OF_TARGETS}
        known[metric.name] = labels
        if metric.kind == "histogram":
            known |= {f"{metric.name}_sum": labels, f"{metric.name}_count": labels}
            known[f"{metric.name}_bucket"] = labels | {"le"}
    for name, expression in recorded_series().items():
        known[name] = labels_of(promql_parser.parse(expression), known)
    return known


def labels_of(node, known):
    """Return the labels of what an expression gives; every selector and grouping in it asks for labels that exist."""
    match node:
        case promql_parser.AggregateExpr():
            return _gathered(node, labels_of(node.expr, known))
        case promql_parser.BinaryExpr():
            left, right = labels_of(node.lhs, known), labels_of(node.rhs, known)
            return left | right if str(node.op) == "or" else left or right
        case promql_parser.Call():
            return _called(node, set().union(*(labels_of(argument, known) for argument in node.args)))
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            return labels_of(node.expr, known)
        case promql_parser.MatrixSelector():
            return _selected(node.vector_selector, known)
    return _selected(node, known) if isinstance(node, promql_parser.VectorSelector) else set()


def _gathered(node, inner):
    asked = set(node.modifier.labels) if node.modifier else set()
    assert asked <= inner, f"{node}: no label {asked - inner}"
    return inner if str(node.op) == "topk" else asked


def _called(node, inner):
    if node.func.name == "label_replace":
        return inner | {node.args[1].val}
    return inner - {"le"} if node.func.name == "histogram_quantile" else inner


def _selected(node, known):
    assert node.name in known, f"nothing is called {node.name}"
    asked = {matcher.name for matcher in node.matchers.matchers}
    assert asked <= known[node.name], f"{node.name} has no label {asked - known[node.name]}"
    return known[node.name]


def test_committed_json_is_what_the_modules_say():
    committed = {path: path.read_text() for path in sorted(FOLDER.glob("*.json"))}
    assert committed == dict(sorted(generated().items())), "run `python -m deploy.dashboards` and commit"


def test_writing_writes_what_changed_alone(tmp_path):
    assert {path.stem for path in write(tmp_path)} == BUILT.keys()
    (tmp_path / "foreshock-ingest.json").write_text("{}")
    assert [path.stem for path in write(tmp_path)] == ["foreshock-ingest"]
    assert write(tmp_path) == []


@pytest.mark.parametrize("uid", BUILT)
def test_grafanas_schema_knows_all_of_it(uid):
    register_default_plugins()
    read = Dashboard.from_json(BUILT[uid])  # drops what it does not know
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == BUILT[uid]


@pytest.mark.parametrize("uid", BUILT)
def test_every_query_asks_for_what_there_is(uid):
    known = known_labels()
    for expression in expressions(BUILT[uid]):
        labels_of(promql_parser.parse(substituted(expression)), known)


@pytest.mark.parametrize(("uid", "panel"), PANELS)
def test_a_panel_says_what_it_shows(uid, panel):
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    known = known_labels()
    for target in panel["targets"]:
        assert target["legendFormat"]
        asked = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert asked <= labels_of(promql_parser.parse(substituted(target["expr"])), known)
    references = [target["refId"] for target in panel["targets"]]
    assert len(references) == len(set(references))


@pytest.mark.parametrize("uid", BUILT)
def test_panels_do_not_overlap(uid):
    places = [panel["gridPos"] for panel in BUILT[uid].get("panels", ())]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)


def test_the_overview_is_one_screen():
    # A full-HD browser shows about 25 units of 36 pixels below Grafana's own bars.
    assert max(place["y"] + place["h"] for place in (panel["gridPos"] for panel in overview()["panels"])) <= 25


def overview():
    return BUILT["foreshock-overview"]


@pytest.mark.parametrize("uid", BUILT)
def test_numbers_and_titles_of_panels_are_unique(uid):
    panels = BUILT[uid].get("panels", ())
    assert len({panel["id"] for panel in panels}) == len(panels)
    titles = [panel["title"] for panel in panels if panel["title"] != "Budget left"]  # one beside each promise
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_variables_are_declared_and_used(board):
    used = set(re.findall(r"\$(\w+)", " ".join(expressions(BUILT[board.uid])))) - STANDINS.keys()
    assert used == set(board.variables)
    declared = {variable["name"]: variable for variable in BUILT[board.uid]["templating"]["list"]}
    assert declared.keys() == {"datasource", *board.variables}
    for name in board.variables:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", declared[name]["query"]).groups()
        assert label == name
        assert label in known_labels()[metric]


def test_each_alert_is_linked_from_the_dashboard_that_it_names():
    linked = {}
    for uid, board in BUILT.items():
        for panel in board.get("panels", ()):
            for link in panel.get("links", ()):
                alert = link["title"].removeprefix("Runbook: ")
                assert link["url"] == runbook_url(alert)
                linked.setdefault(alert, set()).add(uid)
    for alert in all_alerts(thresholds()):
        assert f"foreshock-{alert.dashboard}" in linked.get(alert.name, ()), alert.name


def test_dashboards_link_to_each_other():
    for board in BUILT.values():
        [link] = board["links"]
        assert (link["type"], link["tags"]) == ("dashboards", board["tags"])
        assert link["includeVars"]
        assert link["keepTime"]


def test_a_link_to_a_runbook_opens_its_panel(tmp_path):
    (tmp_path / "TritonDown.md").write_text("# Triton does not answer\n\nLook at its log.\n")
    [panel] = runbook_board(others(), TAG, tmp_path).panels
    assert panel.title == "TritonDown"
    assert runbook_url("TritonDown") == f"/d/{RUNBOOKS}?viewPanel={panel.id_val}"
    assert panel.options.content.startswith("# Triton does not answer")
    with pytest.raises(SettingsError, match="there is no alert 'Triton'; there are: "):
        runbook_url("Triton")


def test_lines_are_where_alerts_fire():
    lag = next(panel for panel in overview()["panels"] if panel["title"] == "Lag in seconds")
    steps = lag["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["color"] for step in steps] == ["green", "red"]
    assert steps[1]["value"] == float(thresholds()["lag_seconds"])


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (lambda: rate(LATE_EVENTS, "topic"), "foreshock_late_events_total has no label 'topic'; it has: venue, reason"),
        (lambda: count(ROWS, venue="x"), "foreshock_rows_total has no label 'venue'"),
        (lambda: rate(OFFSET_LAG), "foreshock_offset_lag: expected a counter, got a gauge"),
        (lambda: gauge("sum", ROWS), "foreshock_rows_total: expected a gauge, got a counter"),
        (lambda: quantile(0.5, ROWS), "foreshock_rows_total: expected a histogram, got a counter"),
        (lambda: mean(OFFSET_LAG), "foreshock_offset_lag: expected a histogram, got a gauge"),
        (lambda: recorded("slo:none"), "slo:none is not recorded"),
    ],
)
def test_a_query_for_what_does_not_exist_is_refused(made, error):
    with pytest.raises(ValueError, match=re.escape(error)):
        made()


def test_each_alert_has_a_runbook_of_its_own():
    places = {panel["title"]: panel["id"] for panel in BUILT[RUNBOOKS]["panels"]}
    assert {alert: runbook_url(alert) for alert in alert_names()} == {
        alert: f"/d/{RUNBOOKS}?viewPanel={number}" for alert, number in places.items()
    }
