"""Workers that are killed."""

from itertools import cycle

from schemas.topics import FEATURE_ROW
from streams.chaos.live import ends
from streams.chaos.scenario import Trial, scenario
from streams.run import STAGES

_SECONDS = 300
_KILLS = 9
_QUICK_KILLS = 4
_DONE_SECONDS = 240.0


@scenario("F1", "kill -9 a random worker at each further tenth of the rows, 9 times", seconds=75)
def kill_workers(trial: Trial) -> None:
    """Each stage in turn, a random worker of it, whenever another part of the rows is written."""
    kills = _QUICK_KILLS if trial.quick else _KILLS
    seconds = _SECONDS // 3 if trial.quick else _SECONDS
    trial.fill(trial.market(seconds))
    workers = {"ingest": 2, "featurize": 2}
    turns = cycle(trial.draw.sample(STAGES, len(STAGES)))
    with trial.running(workers=workers) as live:
        for kill in range(1, kills + 1):
            due = kill * seconds * trial.settings.partitions / (kills + 1)
            live.wait(lambda due=due: _rows(trial) >= due, _DONE_SECONDS, f"{due:.0f} row messages")  # type: ignore[misc]
            stage = next(turns)
            live.supervisor.kill(f"{stage}-{trial.draw.randrange(workers.get(stage, 1))}")
        live.wait_until_done(seconds=_DONE_SECONDS)
        exits = [code for name in live.supervisor.names for code in live.supervisor.exits(name)]
    trial.require(exits == [-9] * kills, f"expected {kills} kills and no other end, got exits {exits}")
    trial.verify()


def _rows(trial: Trial) -> int:
    return sum(end for (topic, _), end in ends(trial.settings).items() if topic == FEATURE_ROW)
