"""Forecast quality and explanation: coverage, losses beside log-HAR, weights of experts, drift, attention."""

from deploy.dashboards.frame import Dashboard
from deploy.dashboards.ingest import PARITY
from deploy.dashboards.limits import limit
from deploy.dashboards.panels import Chart, Query
from deploy.dashboards.promql import count, gauge, or_zero, rate
from schemas.metrics import (
    ATTENTION_FAITHFULNESS,
    COVERAGE,
    COVERED,
    DRIFT_ALARMS,
    EXPERT_WEIGHT,
    FORECASTS_NOT_SCORED,
    FORECASTS_SCORED,
    INSTRUMENT_COVERAGE,
    INSTRUMENT_VOLATILITY,
    LOSS,
    REGIME_COVERAGE,
)

COMBINED, BASELINE = "combined", "har"
BAND = "0.9"
_HORIZON = {"horizon": "$horizon"}
_INSTRUMENT = {"instrument": "$instrument", **_HORIZON}


def _mean_loss(metric: str, **where: str) -> str:
    """Return the mean of a loss over the forecasts scored in the last steps, by horizon and expert."""
    lost = rate(LOSS, "horizon", "expert", metric=metric, **where)
    return f"{lost} / {rate(FORECASTS_SCORED, 'horizon', 'expert', **where)}"


def _beside_baseline(metric: str) -> str:
    """Return a loss of the combined forecast as a multiple of the baseline's, by horizon."""
    combined, baseline = (
        f"sum by (horizon) ({_mean_loss(metric, expert=expert, **_HORIZON)})" for expert in (COMBINED, BASELINE)
    )
    return f"{combined} / {baseline}"


_COVERAGE = (
    Chart(
        title="Coverage of the bands, so far",
        description="Share of outcomes inside the central bands. Each line should lie at the level it is called by.",
        unit="percentunit",
        maximum=1.0,
        queries=(Query(gauge("avg", COVERAGE, "horizon", "level", **_HORIZON), "{{horizon}} band {{level}}"),),
    ),
    Chart(
        title=f"Coverage of the {float(BAND):.0%} band, lately",
        description="Share of the outcomes of the last steps inside the band.",
        unit="percentunit",
        limits=(limit("coverage_low", below=True), limit("coverage_high")),
        alerts=("CoverageOutOfBand", "CoverageBudgetBurn"),
        maximum=1.0,
        queries=(
            Query(
                f"{rate(COVERED, 'horizon', level=BAND, **_HORIZON)} / "
                f"{rate(FORECASTS_SCORED, 'horizon', expert=COMBINED, **_HORIZON)}",
                "{{horizon}}",
            ),
        ),
    ),
    Chart(
        title=f"Coverage of the {float(BAND):.0%} band by regime, so far",
        description="By the regime of volatility that the forecast was made in; -1: none known.",
        unit="percentunit",
        maximum=1.0,
        queries=(
            Query(gauge("avg", REGIME_COVERAGE, "horizon", "regime", **_HORIZON), "{{horizon}} regime {{regime}}"),
        ),
    ),
    Chart(
        title=f"Coverage of the {float(BAND):.0%} band by instrument, so far",
        description="Of the instruments in FORESHOCK_METRICS_INSTRUMENTS.",
        unit="percentunit",
        maximum=1.0,
        width=12,
        queries=(
            Query(
                gauge("avg", INSTRUMENT_COVERAGE, "instrument", "horizon", **_INSTRUMENT),
                "{{instrument}} {{horizon}}",
            ),
        ),
    ),
    Chart(
        title="Forecast volatility",
        description="Of the last forecast, a year's, as a share of the price; of the instruments in "
        "FORESHOCK_METRICS_INSTRUMENTS.",
        unit="percentunit",
        width=12,
        queries=(
            Query(
                gauge("avg", INSTRUMENT_VOLATILITY, "instrument", "horizon", **_INSTRUMENT),
                "{{instrument}} {{horizon}}",
            ),
        ),
    ),
)

_SCORES = (
    Chart(
        title="Loss of the mean (QLIKE), by expert",
        description="Less is better. har is log-HAR, the baseline; combined is what is published.",
        unit="none",
        queries=(Query(_mean_loss("qlike", **_HORIZON), "{{horizon}} {{expert}}"),),
    ),
    Chart(
        title="Loss of the quantiles (pinball), by expert",
        description="In units of variance; less is better. har is log-HAR, combined is what is published.",
        unit="sci",
        queries=(Query(_mean_loss("pinball", **_HORIZON), "{{horizon}} {{expert}}"),),
    ),
    Chart(
        title="Loss of the distribution (CRPS), by expert",
        description="In units of variance; less is better. har is log-HAR, combined is what is published.",
        unit="sci",
        queries=(Query(_mean_loss("crps", **_HORIZON), "{{horizon}} {{expert}}"),),
    ),
    Chart(
        title="Losses beside log-HAR's",
        description="Loss of the published forecast by that of log-HAR: below 1 the networks are worth their while.",
        unit="none",
        limits=(limit("score_ratio"),),
        alerts=("ScoreWorseThanBaseline",),
        minimum=None,
        width=12,
        queries=tuple(
            Query(_beside_baseline(metric), f"{{{{horizon}}}} {metric}") for metric in ("qlike", "pinball", "crps")
        ),
    ),
    Chart(
        title="Forecasts scored and not scored",
        description="Forecasts held against what then happened, by horizon, and horizons of forecasts that have no "
        "score, by reason.",
        unit="ops",
        width=12,
        queries=(
            Query(rate(FORECASTS_SCORED, "horizon", expert=COMBINED, **_HORIZON), "{{horizon}}"),
            Query(or_zero(rate(FORECASTS_NOT_SCORED, "reason"), "reason"), "not scored: {{reason}}"),
        ),
    ),
)

_EXPLANATION = (
    Chart(
        title="Weights of experts in the mean",
        description="Mean over instruments, by horizon. They add up to 1.",
        unit="percentunit",
        maximum=1.0,
        queries=(
            Query(gauge("avg", EXPERT_WEIGHT, "horizon", "expert", of="mean", **_HORIZON), "{{horizon}} {{expert}}"),
        ),
    ),
    Chart(
        title="Weights of experts in the quantiles",
        description="Mean over instruments, by horizon. They add up to 1.",
        unit="percentunit",
        maximum=1.0,
        queries=(
            Query(
                gauge("avg", EXPERT_WEIGHT, "horizon", "expert", of="quantiles", **_HORIZON),
                "{{horizon}} {{expert}}",
            ),
        ),
    ),
    Chart(
        title="Alarms of drift",
        description="By kind and horizon, since the processes started. `foreshock doctor` says more.",
        unit="none",
        alerts=("DriftDetected",),
        queries=(Query(or_zero(count(DRIFT_ALARMS, "kind", "horizon", **_HORIZON), "kind"), "{{kind}} {{horizon}}"),),
    ),
    Chart(
        title="Faithfulness of attention",
        description="Rank correlation of attention by modality with the effect of leaving each one out, mean over the "
        "last explained forecasts: 1 as it should be, 0 says nothing.",
        unit="none",
        minimum=-1.0,
        maximum=1.0,
        width=16,
        queries=(Query(gauge("avg", ATTENTION_FAITHFULNESS), "faithfulness"),),
    ),
    PARITY,
)

BOARD = Dashboard(
    uid="foreshock-forecasts",
    title="Foreshock / Forecast quality and explanation",
    description="Whether bands hold what they promise, whether forecasts beat log-HAR, and why.",
    variables=("instrument", "horizon"),
    since="now-6h",
    rows=(("Coverage", _COVERAGE), ("Scores", _SCORES), ("Experts, drift and attention", _EXPLANATION)),
)
