"""Records that come twice, out of their order, or too late; and the same log again and again."""

from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import msgspec

from schemas.forecasts import Forecast, decode_json
from schemas.rules import SECOND_NS
from schemas.topics import FORECAST
from streams.chaos.live import Live, rows_hash
from streams.chaos.logs import Logs, Truth
from streams.chaos.reading import truth_of, truth_of_messages
from streams.chaos.records import has_event_times, is_named
from streams.chaos.scenario import Trial, scenario
from streams.kafka import read_topic
from streams.settings import Settings
from streams.sources import RawMessage
from streams.sources.faults import duplicate

_SECONDS = 300
_QUICK_SECONDS = 75
_REPEATED = 0.05
_REPEATED_WITHIN = 10_000
_QUICK_REPEATED_WITHIN = 500
_OUT_OF_ORDER_NS = 1_500_000_000
"""With the second by which the market's venues are behind each other at most, this is the allowed lateness."""
_TOO_LATE = 0.01
_TOO_LATE_NS = (15 * SECOND_NS, 30 * SECOND_NS)
"""Behind by more than the 10 s by which a venue can hold the watermark, the lateness and two heartbeats."""
_CALM_NS = (10 * SECOND_NS, 35 * SECOND_NS)
"""At the beginning and the end all comes in order, so that the first and the last row are those of the clean run."""
_REPLAYS = 10
_QUICK_REPLAYS = 2
_MOST_DIFFERENCE = 1e-6
_DONE_SECONDS = 240.0

Row = tuple[int, int]


@scenario("F12", "5 % of the records that a venue names come again, up to 10,000 records later", seconds=60)
def repeat_records(trial: Trial) -> None:
    """A repeat is a record of its own: within its tile the first counts, behind it it is late."""
    clean = _market(trial)
    within = _QUICK_REPEATED_WITHIN if trial.quick else _REPEATED_WITHIN
    repeated = list(duplicate(clean, _REPEATED, trial.outcome.seed, within, of=is_named))
    trial.fill(repeated)
    logs, truth = _run_all(trial)
    trial.figure("records that came again", len(repeated) - len(clean), limit=1, at_least=True)
    trial.figure("repeats told late", len(truth.late))
    _compare(trial, logs, truth_of_messages(clean, trial.settings))


@scenario("F13", "all records out of order within the lateness, 1 % of them behind it", seconds=60)
def shuffle_records(trial: Trial) -> None:
    """What counts from the time of its receipt keeps its place; the clean run has not the records that are too late."""
    clean = _market(trial)
    calm_from, calm_to = clean[0].receive_time_ns + _CALM_NS[0], clean[-1].receive_time_ns - _CALM_NS[1]
    shuffled, late = [], set()
    for place, message in enumerate(clean):
        if not (calm_from < message.receive_time_ns < calm_to and has_event_times(message)):
            shuffled.append(message)
        elif trial.draw.random() < _TOO_LATE:
            late.add(place)
            shuffled.append(_put_off(message, trial.draw.randint(*_TOO_LATE_NS)))
        else:
            shuffled.append(_put_off(message, trial.draw.randrange(_OUT_OF_ORDER_NS)))
    shuffled.sort(key=lambda message: message.receive_time_ns)
    trial.fill(shuffled)
    logs, truth = _run_all(trial)
    kept = [message for place, message in enumerate(clean) if place not in late]
    trial.figure("records put off behind the lateness", len(late), limit=1, at_least=True)
    trial.figure("of them not told late", len(late) - len(set(logs.late)), limit=0)
    trial.require(len(truth.late) == len(late), f"{len(late)} records came too late, {len(truth.late)} events are late")
    _compare(trial, logs, truth_of_messages(kept, trial.settings))


@scenario("F21", "the same raw log with 1, 2 and 3 workers and micro-batches of 1, 8 and 64 events", seconds=240)
def replay_again(trial: Trial) -> None:
    """Ten replays (two in a quick run): the rows' hash is one, and log-HAR says the same of them."""
    trial.fill(trial.market(_QUICK_SECONDS if trial.quick else 2 * _QUICK_SECONDS, intensity=0.5))
    ways = list(product((1, 2, 3), (1, 8, 64)))
    ways = trial.draw.sample(ways, _QUICK_REPLAYS) if trial.quick else [*ways, trial.draw.choice(ways)]
    truth: Truth | None = None
    hashes, means = set(), []
    for number, (workers, events) in enumerate(ways):
        if number:
            trial.reset()
        truth = truth or truth_of(trial.settings)
        environment = {"FORESHOCK_BATCH_EVENTS": str(events)}
        with trial.running(workers=_workers(workers, quick=trial.quick), environment=environment) as live:
            live.wait_until_done(seconds=_DONE_SECONDS)
        logs, _ = trial.verify(truth)
        hashes.add(rows_hash(_rows(logs)))
        means.append(dict(_har_means(trial.settings)))
        if number < len(ways) - 1:
            trial.outcome.figures.clear()  # those of the last replay stand for all
    trial.figure("replays", len(ways))
    trial.figure("hashes of the rows", len(hashes), limit=1)
    trial.require(all(a.keys() == b.keys() for a, b in pairwise(means)), "not all replays have the same forecasts")
    # Variances of a minute are themselves about 1e-6: only a relative difference says anything.
    apart = max(abs(a[key] / b[key] - 1) for a, b in pairwise(means) for key in a.keys() & b.keys())
    trial.figure("greatest relative difference of a mean", apart, limit=_MOST_DIFFERENCE)


def _market(trial: Trial) -> list[RawMessage]:
    if trial.quick:
        return list(trial.market(_QUICK_SECONDS, intensity=0.5))
    return list(trial.market(_SECONDS))


def _run_all(trial: Trial) -> tuple[Logs, Truth]:
    with trial.running() as live:
        _end_without_exits(trial, live)
    return trial.verify()


def _end_without_exits(trial: Trial, live: Live) -> None:
    live.wait_until_done(seconds=_DONE_SECONDS)
    trial.require(not live.exits(), f"expected no process to end, got exits {live.exits()}")


def _put_off(message: RawMessage, by_ns: int) -> RawMessage:
    return msgspec.structs.replace(message, receive_time_ns=message.receive_time_ns + by_ns)


def _compare(trial: Trial, logs: Logs, clean: Truth) -> None:
    """Compare the rows with those of the log without the fault."""
    found = _rows(logs)
    differing = [key for key in found.keys() | clean.rows.keys() if found.get(key) != clean.rows.get(key)]
    trial.figure("rows that differ from the clean run", len(differing), limit=0)


def _rows(logs: Logs) -> dict[Row, bytes]:
    return {(row.partition, row.row_time_ns): row.value for row in reversed(logs.rows)}


def _har_means(settings: Settings) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield what log-HAR alone expects, by forecast and horizon: it follows from the rows."""
    for message in read_topic(settings, FORECAST):
        forecast = decode_json(message.value or b"", Forecast)
        har = forecast.experts.get("har")
        for horizon, mean in (har.means if har is not None else {}).items():
            yield (forecast.id, horizon), mean


def _workers(count: int, *, quick: bool) -> dict[str, int]:
    """Return so many workers of each stage; a quick run has one of those whose number changes no row."""
    many: Sequence[str] = ("ingest", "featurize") if quick else ("ingest", "featurize", "infer", "score")
    return dict.fromkeys(many, count)
