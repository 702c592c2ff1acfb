"""Many forecasts computed again at once: rows read in the order of the log, requests filled, verdicts given."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from schemas.errors import ForeshockError
from schemas.forecasts import Forecast, decode_json
from streams.reading import LogReader
from streams.rebuild.computing import Case, Seen, made_again, requests_of
from streams.rebuild.deep import Wanted
from streams.rebuild.library import Library
from streams.rebuild.rows import Place, RowLog
from streams.rebuild.verdicts import Verdict, compared
from streams.receipts import place_of
from streams.stage import Message

_AT_ONCE = 512
"""Forecasts that are computed together: as many as fill requests of every size, in bounded memory."""


def read_forecasts(messages: Iterable[Message]) -> Iterator[Forecast | Verdict]:
    """Yield the forecasts in messages, or the verdict on one that cannot be read."""
    for message in messages:
        try:
            yield decode_json(message.value or b"", Forecast)
        except ForeshockError as error:
            yield Verdict(f"{message.topic}[{message.partition}]@{message.offset}", "unreadable", problem=str(error))


def verdicts(
    reader: LogReader, library: Library, forecasts: Iterable[Forecast | Verdict], wanted: Wanted | None = None
) -> Iterator[Verdict]:
    """Yield what comes of each forecast, in no certain order; `wanted` is told of every row message behind one."""
    found: list[tuple[Place, Forecast]] = []
    for each in forecasts:
        if isinstance(each, Verdict):
            yield each
            continue
        try:
            found.append((Place(*place_of(each)), each))
        except ForeshockError as error:
            yield _unreadable(each, error)
    found.sort(key=lambda pair: (pair[0], pair[1].id))
    log = RowLog(reader, sorted({place for place, _ in found}))
    waiting: list[Case] = []
    for place, members in groupby(found, key=lambda pair: pair[0]):
        for one in _cases(log, library, place, [forecast for _, forecast in members], wanted):
            if isinstance(one, Verdict):
                yield one
            else:
                waiting.append(one)
        if len(waiting) >= _AT_ONCE:
            yield from _settled(waiting, library)
            waiting.clear()
    yield from _settled(waiting, library)


def _cases(
    log: RowLog, library: Library, place: Place, forecasts: list[Forecast], wanted: Wanted | None
) -> Iterator[Case | Verdict]:
    """Yield the cases of forecasts that have their rows in common; models may differ from one to the next."""
    try:
        rows = list(log.rows(place, forecasts[0].id))
    except ForeshockError as error:
        yield from (_unreadable(forecast, error) for forecast in forecasts)
        return
    if wanted is not None:
        known = dict(rows)
        for offset, value in log.messages(place, forecasts[0].id):
            of = known.get(offset)
            if of is not None:
                wanted.add(place.partition, offset, of, value)
    seen: dict[int, Seen] = {}
    for forecast in forecasts:
        try:
            models = library.models(forecast)
            if id(models) not in seen:
                seen[id(models)] = Seen(models, rows)
            yield seen[id(models)].case(forecast)
        except ForeshockError as error:
            yield _unreadable(forecast, error)


def _settled(cases: list[Case], library: Library) -> Iterator[Verdict]:
    """Yield verdicts; one that is not identical among others is given alone, at its recorded place in the batch."""
    for request in requests_of(cases):
        for case, verdict in zip(request, _verdicts(request, library), strict=True):
            yield verdict if verdict.kind == "identical" or not request[1:] else _verdicts([case], library)[0]


def _verdicts(request: list[Case], library: Library) -> list[Verdict]:
    try:
        again = made_again(request, library)
    except ForeshockError as error:
        return [_unreadable(case.forecast, error) for case in request]
    return [compared(case.forecast, made) for case, made in zip(request, again, strict=True)]


def _unreadable(forecast: Forecast, error: ForeshockError) -> Verdict:
    text = str(error).removeprefix(f"{forecast.id}: ")
    return Verdict(forecast.id, "unreadable", problem=text, forecast=forecast)
