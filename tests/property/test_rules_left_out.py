"""Each rule of time and state is needed: with it left out, a history shows in the rows.

Same raw log, same rows: what `test_row_histories` finds true with all rules. Each line below was
found by a simulation that left one rule out; here the rule is left out of the code itself
(`mutants.py`), and the history of a recorded seed must show it. With the rule in place the same
history shows nothing.

| what is left out or done otherwise | mutant |
|---|---|
| lateness decided from the merged canonical log, not per raw partition | lateness_from_the_merged_log |
| heartbeats by wall clock, not records in the raw partition | heartbeats_by_wall_clock |
| progress written before the events of its raw record | progress_before_the_events_of_its_record |
| progress overtakes buffered events | progress_overtakes_buffered_events |
| ingest restarts without its clocks and W | ingest_restarts_without_its_clocks |
| sources discovered, not declared | sources_are_discovered |
| a watermark that can fall | a_watermark_that_can_fall |
| stamps in the checkpoint not as of the resume offset | stamps_of_now_in_the_checkpoint |
| progress in the checkpoint not as of the resume offset | progress_of_now_in_the_checkpoint |
| re-read events of closed tiles counted late | events_read_again_count_as_late |
| resume from group commits, not from the checkpoint | resume_from_group_commits |
| rings and offsets in two records | rings_and_offsets_in_two_records |
| a row lists instruments seen so far, not by time | a_row_lists_what_was_seen_so_far |
| first row by arrival | first_row_by_arrival |
| incomplete tie order | incomplete_tie_order |
| running sums for minute and hour tiles | running_sums |
| any record counts as heard | any_record_counts_as_heard |
| a `future` event moves its venue's clock | a_future_event_moves_its_clock |
| rings dropped when an instrument leaves the list | rings_dropped_on_leaving_the_list |
| last event times derived from rings after a restart | last_times_from_rings |
| one border for "last closed tile" and "last written row" | one_border_for_tiles_and_rows |
| generations named by number alone | generations_named_by_number_alone |
| checkpoint before the market part is acknowledged | checkpoint_before_its_market_part |
| first row waits for parts | first_row_waits_for_parts |
| market resume offset = its current one | market_resumes_at_its_current_offset |
| repeated market parts added | repeated_parts_are_added |
| waiting for parts blocks the process's other partitions | waiting_blocks_the_other_partitions |
| a new feature joins "at the next border" of each process | a_feature_joins_at_the_next_border |

The timelines that go with them are in `test_timelines.py`.
"""

import re

import pytest
from mutants import MUTANTS
from trials import EARLY, JOINING, LOG, MINUTES, ORDER, RAW, SEVERAL, STEADY, Stores
from world import decode

SHOWN = {
    "lateness_from_the_merged_log": (ORDER, (1, 0), "differs"),
    "heartbeats_by_wall_clock": (ORDER, (1, 2), "differs"),
    "progress_before_the_events_of_its_record": (ORDER, (7, 4), "differs"),
    "progress_overtakes_buffered_events": (RAW, (1, 2), "differs"),
    "ingest_restarts_without_its_clocks": (RAW, (13, 11, 18, 20), "differs"),
    "sources_are_discovered": (ORDER, (1, 3), "differs"),
    "a_watermark_that_can_fall": (ORDER, (9, 5), "differs"),
    "stamps_of_now_in_the_checkpoint": (LOG, (1, 2), "differs"),
    "progress_of_now_in_the_checkpoint": (STEADY, (4,), "differs"),
    "events_read_again_count_as_late": (LOG, (1, 0), "late"),
    "resume_from_group_commits": (LOG, (0, 2), "differs"),
    "rings_and_offsets_in_two_records": (LOG, (11,), "differs"),
    "a_row_lists_what_was_seen_so_far": (ORDER, (1, 2), "differs"),
    "first_row_by_arrival": (ORDER, (1, 2), "differs"),
    "incomplete_tie_order": (ORDER, (4, 0), "differs"),
    "running_sums": (MINUTES, (9, 22), "differs"),
    "any_record_counts_as_heard": (RAW, (5,), "differs"),
    "a_future_event_moves_its_clock": (SEVERAL, (3, 1), "differs"),
    "rings_dropped_on_leaving_the_list": (ORDER, (1, 2), "differs"),
    "last_times_from_rings": (LOG, (4, 0), "differs"),
    "one_border_for_tiles_and_rows": (LOG, (1, 3), "raises"),
    "generations_named_by_number_alone": (Stores(), (16, 23, 32), "raises"),
    "checkpoint_before_its_market_part": (STEADY, (6,), "stuck"),
    "first_row_waits_for_parts": (ORDER, (1, 0), "stuck"),
    "market_resumes_at_its_current_offset": (EARLY, (27, 15, 21), "stuck"),
    "repeated_parts_are_added": (LOG, (2, 4), "differs"),
    "waiting_blocks_the_other_partitions": (ORDER, (1, 2), "stuck"),
    "a_feature_joins_at_the_next_border": (JOINING, (1, 0), "differs"),
}
"""By mutant: the trial, seeds whose history shows it, and what it shows."""


@pytest.fixture(autouse=True)
def test_format(monkeypatch):
    monkeypatch.setattr("streams.ingest.normaliser.formats", lambda: {"test": decode})


@pytest.mark.parametrize("name", SHOWN)
def test_a_rule_left_out_shows(name):
    trial, seeds, expected = SHOWN[name]
    found = []
    for seed in seeds:
        assert trial.verdict(seed) == "agrees"
        with pytest.MonkeyPatch.context() as patch:
            MUTANTS[name](patch)
            found.append(trial.verdict(seed))
        if found[-1] == expected:
            return
    pytest.fail(f"with the rule left out, seeds {seeds} give {found}: look for a seed that shows {expected!r}")


def test_every_line_has_its_mutant_and_every_mutant_its_line():
    lines = re.findall(r"^\| .+ \| (\w+) \|$", __doc__, re.MULTILINE)[1:]
    assert len(lines) == 28
    assert lines == list(MUTANTS) == list(SHOWN)
