"""Workers that are killed."""

import time
from itertools import cycle

from streams.chaos.live import Live, row_messages
from streams.chaos.reading import truth_of
from streams.chaos.scenario import Playing, Trial, scenario
from streams.run import STAGES

_SECONDS = 300
_INTENSITY = 8.0
"""About 100,000 events."""
_KILLS = 9
_QUICK_KILLS = 3
_QUICK_SECONDS = 45
_DONE_SECONDS = 240.0
_MOMENT_SECONDS = 6.0
_RUNNING_SECONDS = 30.0
"""Beyond the session timeout, by the table."""
_SPEED = 10.0


@scenario("F1", "kill -9 a random worker at each further tenth of the rows, 9 times", seconds=75)
def kill_workers(trial: Trial) -> None:
    """Each stage in turn, a random worker of it, whenever another part of the rows is written."""
    kills = _QUICK_KILLS if trial.quick else _KILLS
    seconds = _QUICK_SECONDS if trial.quick else _SECONDS
    trial.fill(trial.market(seconds, intensity=1.0 if trial.quick else _INTENSITY))
    truth = truth_of(trial.settings)
    workers = {"ingest": 1 if trial.quick else 2, "featurize": 2}
    turns = cycle(trial.draw.sample(STAGES, len(STAGES)))
    slowest = 0.0
    with trial.running(workers=workers) as live:
        for kill in range(1, kills + 1):
            due = kill * len(truth.rows) / (kills + 1)
            live.wait(lambda due=due: row_messages(trial.settings) >= due, _DONE_SECONDS, f"{due:.0f} row messages")  # type: ignore[misc]
            stage = next(turns)
            live.supervisor.kill(f"{stage}-{trial.draw.randrange(workers.get(stage, 1))}")
            killed = time.monotonic()
            live.wait(live.reads_all, _DONE_SECONDS, f"all partitions to be read again after a kill of {stage}")
            slowest = max(slowest, time.monotonic() - killed)
        live.wait_until_done(seconds=_DONE_SECONDS)
        exits = _exits(live)
    trial.require(exits == [-9] * kills, f"expected {kills} kills and no other end, got exits {exits}")
    trial.figure("all read again after", slowest, "s", limit=trial.settings.session_timeout_seconds + _RUNNING_SECONDS)
    trial.verify(truth)


@scenario("F1K", "kill -9 one worker of any stage at a random moment", seeds=100, seconds=20)
def kill_one(trial: Trial) -> None:
    """One worker a stage; the moment is any of the play, between and within checkpoints alike."""
    victim = trial.draw.choice(STAGES)
    moment = trial.draw.uniform(0.0, _MOMENT_SECONDS)
    play = trial.market(round(_MOMENT_SECONDS * _SPEED), intensity=0.5)
    with trial.running(environment={"FORESHOCK_CHECKPOINT_SECONDS": "0.5"}) as live:
        with Playing(trial.settings, play, _SPEED) as playing:
            time.sleep(moment)
            live.supervisor.kill(f"{victim}-0")
            live.wait(lambda: playing.is_over, _DONE_SECONDS, "the raw log to be written")
        live.wait_until_done(seconds=_DONE_SECONDS)
        exits = _exits(live)
    trial.require(exits == [-9], f"expected one kill and no other end, got exits {exits}")
    logs, truth = trial.verify()
    same = {(row.partition, row.row_time_ns): row.value for row in reversed(logs.rows)} == truth.rows
    trial.figure("runs with rows of other bytes", 0 if same else 1, limit=0)


def _exits(live: Live) -> list[int]:
    """Return how processes have ended so far."""
    return [code for name in live.supervisor.names for code in live.supervisor.exits(name)]
