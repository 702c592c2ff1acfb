"""`foreshock explain`: what moved a forecast, by modality; or whether explanations find the known causes of shocks."""

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import SettingsError
from schemas.rules import PROFILES, SECOND_NS, Rules
from schemas.tensors import HORIZON_NS, YEAR_NS
from streams.commands.checks import require_writable
from streams.commands.screen import console
from streams.following import Followed
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.explain.truth import Rates

_BEFORE_ROWS = 10


def explain(
    forecast_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Of a forecast: instrument_id@origin_time_ns.")
    ] = None,
    expert: Annotated[str, typer.Option(help="Which network behind it.")] = "performer",
    horizon: Annotated[str | None, typer.Option(help="Default: the shortest.")] = None,
    before: Annotated[
        float | None,
        typer.Option(
            help="Explain the change since so many seconds before; 0: the forecast against nothing heard of. "
            f"Default: {_BEFORE_ROWS} rows, which is 10 s of ticks, 50 minutes of bars."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="File for a picture: .png, .svg or .pdf.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    market: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS", help="Instead of a forecast: shocks of so much built-in market, whose cause is known."
        ),
    ] = None,
) -> None:
    """Share a forecast out over modalities: exact Shapley values and four methods beside them, with sign."""
    if (forecast_id is None) == (market is None):
        raise SettingsError("expected the ID of a forecast, or --market SECONDS")
    if plot is not None:
        require_writable(plot=plot)
    settings = Settings.from_environment()
    before_ns = _whole_rows(before, PROFILES["ticks"] if market is not None else settings.rules)
    if market is not None:
        _explain_market(market, expert, before_ns, Path(settings.model_repository), as_json=as_json)
    else:
        _explain_forecast(settings, str(forecast_id), expert, horizon, before_ns, plot, as_json=as_json)


def _whole_rows(seconds: float | None, rules: Rules) -> int:
    if seconds is None:
        return _BEFORE_ROWS * rules.row_interval_ns
    nanoseconds = round(seconds * SECOND_NS)
    if nanoseconds < 0 or nanoseconds % rules.row_interval_ns:
        whole = rules.row_interval_ns / SECOND_NS
        raise SettingsError(f"--before: expected whole row intervals of {whole:g} s, got {seconds:g}")
    return nanoseconds


def _explain_forecast(
    settings: Settings,
    forecast_id: str,
    expert: str,
    horizon: str | None,
    before_ns: int,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    from streams.explain.finding import find
    from streams.explain.table import document, table_of
    from triton_models.explanation.coalitions import absent
    from triton_models.explanation.explain import explain as explain_tensors
    from triton_models.predictor import Predictor

    found = find(settings, forecast_id, expert, before_ns, Path(settings.model_repository))
    spec = found.bundle.spec
    chosen = horizon or spec.horizons[0]
    if chosen not in spec.horizons:
        raise SettingsError(f"--horizon: expected {', '.join(spec.horizons)}, got {chosen!r}")
    explanation = explain_tensors(
        Predictor(found.bundle),
        found.seen,
        found.before or absent(spec, found.seen),
        horizon=chosen,
        origin_time_ns=found.forecast.origin_time_ns,
        forecast_id=forecast_id,
    )
    against = f"{before_ns / SECOND_NS:g} s earlier" if found.before else "nothing heard of"
    title = f"{forecast_id}, {spec.name} {spec.version} against {against}"
    if as_json:
        typer.echo(json.dumps(document(explanation, id=forecast_id, model=spec.name, against=against)))
    else:
        console().print(table_of(explanation, title))
    if plot is not None:
        from streams.explain.plot import plot_explanation

        per_year = YEAR_NS / HORIZON_NS[chosen]
        levels = (explanation.reference, explanation.value)
        first, second = (math.sqrt(math.exp(level) * per_year) for level in levels)
        plot_explanation(explanation, plot, title, (first, second))


def _explain_market(seconds: int, expert: str, before_ns: int, repository: Path, *, as_json: bool) -> None:
    from streams.explain.truth import explain_shocks, market_rows, rates, told_by
    from triton_models.export import versions
    from triton_models.predictor import Predictor

    folder = repository / f"{expert}-ticks"
    if not folder.is_dir():
        raise SettingsError(f"--expert: there is no {folder.name} in {repository}")
    if not before_ns:
        raise SettingsError("--before: expected more than 0 with --market, whose shocks are changes")
    predictor = Predictor.load(versions(folder)[0])
    with TemporaryDirectory(prefix="foreshock-explain-") as scratch, Followed() as screen:
        task = screen.add_task("rows of the market", total=None)
        table = market_rows(predictor.bundle.spec, seconds, Path(scratch) / "rows.parquet")
        screen.update(task, description="shocks", total=1.0)
        told = told_by(seconds)
        cases = explain_shocks(predictor, table, told, before_ns, lambda ratio: screen.update(task, completed=ratio))
        screen.update(task, completed=1.0)
    found = rates(cases)
    if as_json:
        typer.echo(json.dumps({"shocks": len(cases)} | {name: _plain(found, name) for name in found._fields}))
    else:
        _print_rates(found, f"{len(cases)} shocks of the built-in market, {predictor.bundle.spec.name}")


def _plain(found: "Rates", name: str) -> dict[str, dict[str, float | None]]:
    return {
        method: {part: value if math.isfinite(value) else None for part, value in one._asdict().items()}
        for method, one in getattr(found, name).items()
    }


def _print_rates(found: "Rates", title: str) -> None:
    from rich.table import Table

    from streams.explain.table import HEADS

    table = Table(title=title, title_justify="left")
    for head in ("method", "true driver first", "rank correlation with leave one out", "deletion gain over random"):
        table.add_column(head, justify="left" if head == "method" else "right")
    for method in found.first:
        cells = (getattr(found, name)[method] for name in found._fields)
        table.add_row(HEADS[method], *(f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in cells))
    console().print(table, "In brackets: 95 % intervals, bootstrap over shocks.")
