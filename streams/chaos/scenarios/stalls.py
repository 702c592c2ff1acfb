"""Records that take long, and processes that only look alive."""

import time
from functools import partial
from pathlib import Path

from schemas.topics import EXCHANGE_EVENT, FEATURE_ROW
from streams.chaos.gated import BLOCK, Gate, command
from streams.chaos.live import Live
from streams.chaos.scenario import Trial, scenario, since
from streams.chaos.stuck_group import Absent
from streams.chaos.verifier import verify
from streams.kafka import committed, watermarks
from streams.watchdog import STUCK

_SLOW_RUNS = 100
_QUICK_SLOW_RUNS = 5
_SLOW_MARKET_SECONDS = 150
_QUICK_SLOW_MARKET_SECONDS = 40
_SLOWEST_SECONDS = 1.5
_REACH_SECONDS = 60.0
_DONE_SECONDS = 240.0
_FAUST_STAGES = ("featurize", "infer", "score")
_MOST_STALLED_SECONDS = 60.0
_QUICK_STALL_SECONDS = 10.0
_QUICK_MOST_SECONDS = 30.0
_REASONS = {
    "featurize": ("while the log goes to",),
    # Rows that came before it stood may have waited for longer than the loop has.
    "infer": ("the event loop did not run", "while the log goes to"),
    "score": ("waiting for partitions",),
}
"""What each stage says when it ends itself."""


@scenario("F3", "SIGKILL while a record under way is slow and others behind it are done", seconds=400)
def kill_slow(trial: Trial) -> None:
    """One process after another waits at a record, is killed there, and waits at the next after its restart."""
    runs = _QUICK_SLOW_RUNS if trial.quick else _SLOW_RUNS
    trial.fill(trial.market(_QUICK_SLOW_MARKET_SECONDS if trial.quick else _SLOW_MARKET_SECONDS, intensity=0.5))
    with trial.running(("ingest",)) as live:
        live.wait_until_done()
    folder = trial.settings.state_dir / "gates"
    closed = _slow_records(trial, folder, runs)
    commands = {stage: command(stage, folder / stage) for stage in _FAUST_STAGES}
    environment = {"FORESHOCK_CHECKPOINT_SECONDS": "0.5", "FORESHOCK_STALL_SECONDS": "300"}
    ahead = 0
    with trial.running(_FAUST_STAGES, environment=environment, starting_seconds=0.0, commands=commands) as live:
        while closed:
            stage, gate = _reached(live, closed)
            trial.say(f"{runs - len(closed) + 1} of {runs}")
            time.sleep(trial.draw.uniform(0.0, _SLOWEST_SECONDS))
            ahead += committed(trial.settings, stage, gate.topic).get(gate.partition, 0) > gate.offset
            closed.remove((stage, gate))
            waiting = [each for name, each in closed if name == stage]
            live.kill_for_now(f"{stage}-0", partial(_leave, gate, waiting))
        live.wait_until_done(seconds=_DONE_SECONDS)
        exits = live.exits()
    trial.require(exits == [-9] * runs, f"expected {runs} kills and no other end, got exits {exits}")
    logs, truth = trial.verify()
    lost = sum(finding.invariant in ("I1", "I5") for finding in verify(logs, truth))
    trial.figure("runs", runs)
    trial.figure("lost", lost, limit=0)
    trial.figure("commits past the record under way", ahead, limit=0)


def _leave(gate: Gate, waiting: list[Gate]) -> None:
    """Open the gate of a dead process; where it waited beside it the next one has to come anew."""
    gate.open()
    for each in waiting:
        each.forget()


def _slow_records(trial: Trial, folder: Path, runs: int) -> list[tuple[str, Gate]]:
    """Close a gate at random records, shared out between the stages."""
    events = {p: high for p, (_, high) in watermarks(trial.settings, EXCHANGE_EVENT).items()}
    rows = (_QUICK_SLOW_MARKET_SECONDS if trial.quick else _SLOW_MARKET_SECONDS) // 2
    places = {
        "featurize": [(EXCHANGE_EVENT, p, offset) for p, end in events.items() for offset in range(end)],
        "infer": [(FEATURE_ROW, p, offset) for p in events for offset in range(0, rows, 2)],
        "score": [(FEATURE_ROW, p, offset) for p in events for offset in range(1, rows, 2)],
    }
    chosen = []
    for number in range(runs):
        stage = _FAUST_STAGES[number % len(_FAUST_STAGES)]
        place = places[stage].pop(trial.draw.randrange(len(places[stage])))
        chosen.append((stage, Gate(folder / stage, *place)))
    for _, gate in chosen:
        gate.close()
    return chosen


def _reached(live: Live, closed: list[tuple[str, Gate]]) -> tuple[str, Gate]:
    """Return a gate at which a stage waits."""
    found: list[tuple[str, Gate]] = []

    def look() -> bool:
        found[:] = [each for each in closed if each[1].is_reached]
        return bool(found)

    live.wait(look, _REACH_SECONDS, "a stage to reach a slow record")
    return found[0]


@scenario(
    "F24", "alive and stuck: an agent awaits for ever, an event loop stands, a group never completes", seconds=120
)
def stand_still(trial: Trial) -> None:
    """All three at once, each in a stage of its own; the settings' own patience, 10 s in a quick run."""
    stall = _QUICK_STALL_SECONDS if trial.quick else trial.settings.stall_seconds
    trial.fill(trial.market(_QUICK_SLOW_MARKET_SECONDS, intensity=0.5))
    folder = trial.settings.state_dir / "gates"
    count = trial.settings.partitions
    stuck = {"featurize": Gate(folder / "featurize", EXCHANGE_EVENT, trial.draw.randrange(count), 5)}
    stuck["infer"] = Gate(folder / "infer", FEATURE_ROW, trial.draw.randrange(count), 1)
    stuck["featurize"].close()
    stuck["infer"].close(BLOCK)
    commands = {stage: command(stage, folder / stage) for stage in stuck}
    environment = {"FORESHOCK_STALL_SECONDS": str(stall)}
    with (
        Absent(trial.settings.bootstrap_servers, "score", stall + 15.0),
        trial.running(environment=environment, starting_seconds=0.0, commands=commands) as live,
    ):
        _wait_for_ends(trial, live, stuck)
        live.wait_until_done(seconds=_DONE_SECONDS)
        exits = {stage: live.exits(f"{stage}-0") for stage in ("ingest", *_FAUST_STAGES)}
        told = {stage: live.supervisor.log(f"{stage}-0").read_text() for stage in _FAUST_STAGES}
    trial.require(exits == {"ingest": [], **{stage: [STUCK] for stage in _FAUST_STAGES}}, f"got the exits {exits}")
    for stage, reasons in _REASONS.items():
        said = any(reason in told[stage] for reason in reasons)
        trial.require(said, f"{stage} did not say {' or '.join(reasons)}: {told[stage][-300:]}")
    trial.verify()


def _wait_for_ends(trial: Trial, live: Live, stuck: dict[str, Gate]) -> None:
    """Wait until all three have ended, and keep how long each stood; a gate is opened when its stage has."""
    since_when: dict[str, float] = {}
    took: dict[str, float] = {}

    def look() -> bool:
        for stage in _FAUST_STAGES:
            gate = stuck.get(stage)
            stands = live.supervisor.pid(f"{stage}-0") is not None if gate is None else gate.is_reached
            if stands:
                since_when.setdefault(stage, time.monotonic())
            if stage not in took and live.exits(f"{stage}-0"):
                took[stage] = since(since_when.get(stage, time.monotonic()))
                if gate is not None:
                    gate.open()
        return len(took) == len(_FAUST_STAGES)

    most = _QUICK_MOST_SECONDS if trial.quick else _MOST_STALLED_SECONDS
    live.wait(look, 3 * most, "all stages that stand still to end")
    names = {"featurize": "an agent that awaits", "infer": "an event loop that stands", "score": "a group"}
    for stage, name in names.items():
        trial.figure(f"end of {name}", took[stage], "s", limit=most)
