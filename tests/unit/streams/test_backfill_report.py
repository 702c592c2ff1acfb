"""What a backfill says of late events, to people and as a picture."""

import pytest
from rich.console import Console
from rich.text import Text

from streams.backfill.compare import Changes, Effect
from streams.backfill.late import EDGES_NS, Lateness, LateReport
from streams.backfill.report import plot_lateness, tables


def report(late=(), setting=2.5, **changes):
    counts = [*late, *[0] * (len(EDGES_NS) - len(late))]
    lateness = {"binance trade": Lateness(events=100, late=counts)}
    return LateReport(allowed_lateness_seconds=setting, lateness=lateness, changes=Changes(rows=10, **changes))


@pytest.mark.parametrize("setting", [0.0, 2.5])
@pytest.mark.parametrize("late", [(), (3,), (3, 2)])
def test_a_picture_is_drawn_whatever_is_late_at_whatever_setting(tmp_path, late, setting):
    # matplotlib's warnings are errors here: a logarithmic axis has no place for a setting of 0
    plot_lateness(report(late, setting), tmp_path / "late.png")
    assert (tmp_path / "late.png").read_bytes().startswith(b"\x89PNG")


def test_where_nothing_would_change_there_is_a_line_and_no_empty_table():
    (said,) = tables(report())
    assert isinstance(said, Text)
    assert said.plain == (
        "With the events that came later than 2.5 s, 0 of 10 rows would be others, and 0 more would be there"
    )


def test_features_are_listed_by_how_many_rows_would_change():
    changes = {"features": {"spread": Effect(changed=2), "mid": Effect(changed=5)}, "rows_changed": 5}
    screen = Console(width=200)
    with screen.capture() as printed:
        screen.print(*tables(report(**changes)))
    assert printed.get().index("mid") < printed.get().index("spread")
