import io

from rich.console import Console

from streams import following
from streams.following import Followed


def test_piped_each_new_description_and_a_count_now_and_then_is_a_line(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(following.time, "monotonic", lambda: now[0])
    said = io.StringIO()
    with Followed(console=Console(file=said, force_terminal=False)) as screen:
        task = screen.add_task("reading", total=2_000)
        screen.update(task, description="writing")
        screen.advance(task, 1)
        now[0] += 11.0
        screen.advance(task, 1_499)
        screen.update(task, description="F3 [kafka]")
        screen.update(task, description="F4 [kafka]")
    lines = [line.rstrip() for line in said.getvalue().splitlines()]
    assert lines[:3] == ["writing", "writing: 1,500 of 2,000", "F3 [kafka]: 1,500 of 2,000"]


def test_a_terminal_gets_bars_alone():
    said = io.StringIO()
    with Followed(console=Console(file=said, force_terminal=True, width=80)) as screen:
        screen.update(screen.add_task("reading", total=10), completed=5)
    assert "reading: " not in said.getvalue()
    assert "50%" in said.getvalue()
