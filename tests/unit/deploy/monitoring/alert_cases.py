"""For every alert series that make it fire, and series close to them that do not: promtool's notation, 15 s a step.

`0+10x80` is 0, 10, 20, ...; `5x80` is 5 all the time; `_x80` is nothing.
"""

from typing import NamedTuple

LIVE = {'foreshock_live{process="run"}': "1x400"}
WHERE = 'process="featurize-0",stage="featurize"'


class Case(NamedTuple):
    """`at`, and `interval`: promtool's durations."""

    fires: dict[str, str]
    silent: dict[str, str]
    at: str = "15m"
    interval: str = "15s"


def _scored(covered: str, lost: str = "0+1x400") -> dict[str, str]:
    return {
        'foreshock_forecasts_scored_total{horizon="1m",expert="combined"}': "0+100x400",
        'foreshock_covered_total{horizon="1m",level="0.9"}': covered,
        'foreshock_loss_total{horizon="1m",expert="combined",metric="qlike"}': lost,
        'foreshock_loss_total{horizon="1m",expert="har",metric="qlike"}': "0+1x400",
    }


def _flow(events: str, rows: str, forecasts: str) -> dict[str, str]:
    return {
        'foreshock_events_received_total{topic="exchange.event.v1"}': events,
        'foreshock_rows_total{partition="0"}': rows,
        'foreshock_forecasts_published_total{horizon="1m",status="model"}': forecasts,
    }


def _one(series: str, fires: str, silent: str, **timing: str) -> Case:
    return Case({series: fires}, {series: silent}, **timing)


def _aged(series: str, fires: str, silent: str) -> Case:
    """Return a case that holds for live runs alone."""
    return Case({series: fires} | LIVE, {series: silent} | LIVE)


def _slots(missed: str) -> dict[str, str]:
    return {
        'foreshock_forecast_slot_missed_total{reason="late"}': missed,
        "foreshock_forecast_slots_total": "0+1000x400",
    }


def _shares(fallback: str) -> dict[str, str]:
    return {
        'foreshock_forecasts_published_total{horizon="1m",status="fallback"}': fallback,
        'foreshock_forecasts_published_total{horizon="1m",status="model"}': "0+1000x400",
    }


LONG = {"at": "390m", "interval": "1m"}

CASES: dict[str, list[Case]] = {
    "StreamStalled": [
        Case(_flow("0+50x80", "0+5x20 100x60", "0+5x20 100x60"), _flow("0+50x80", "0+5x80", "0+5x80")),
        Case(_flow("0+50x80", "0+5x80", "7x80"), _flow("9x80", "5x80", "5x80")),  # a quiet market is no stall
        Case(
            {
                f'foreshock_offset_lag{{{WHERE},topic="t",partition="0"}}': "4x80",
                f'foreshock_read_offset{{{WHERE},topic="t",partition="0"}}': "17x80",
            },
            {
                f'foreshock_offset_lag{{{WHERE},topic="t",partition="0"}}': "4x80",
                f'foreshock_read_offset{{{WHERE},topic="t",partition="0"}}': "17+1x80",
            },
        ),
    ],
    "ProcessDown": [_one('up{job="foreshock",process="infer-0"}', "1x40 0x40", "1x58 0 1x20")],
    "ProcessRestarting": [_one('foreshock_process_restarts_total{process="infer-0"}', "0+1x80", "0x40 1x40")],
    "LagHigh": [_one(f'foreshock_offset_lag_seconds{{{WHERE},topic="t",partition="0"}}', "0+15x80", "59x80")],
    "EventTimeLagHigh": [_one('foreshock_event_time_lag_seconds{topic="raw.exchange.v1"}', "6x80", "4.9x80")],
    "SourceSilent": [
        _aged(
            'foreshock_source_last_event_timestamp_seconds{venue="okx",stream="raw.exchange.v1"}', "100x80", "0+15x80"
        ),
        Case(
            {'foreshock_source_last_event_timestamp_seconds{venue="okx",stream="s"}': "100x80"} | LIVE,
            {
                'foreshock_source_last_event_timestamp_seconds{venue="okx",stream="s"}': "100x80",
                'foreshock_live{process="run"}': "0x80",
            },  # a replay is as old as its recording
        ),
    ],
    "WatermarkStuck": [
        _aged('foreshock_watermark_timestamp_seconds{stage="ingest",partition="a/0"}', "100x80", "0+15x80")
    ],
    "DlqRateHigh": [_one('foreshock_dead_letter_total{stage="ingest",reason="decode"}', "0+2x80", "0 0 1x80")],
    "LateRatioHigh": [
        Case(
            {
                'foreshock_late_events_total{venue="okx",reason="late"}': late,
                'foreshock_events_received_total{topic="exchange.event.v1"}': "0+1000x80",
            },
            {
                'foreshock_late_events_total{venue="okx",reason="late"}': few,
                'foreshock_events_received_total{topic="exchange.event.v1"}': "0+1000x80",
            },
        )
        for late, few in (("0+20x80", "0+9x80"),)
    ],
    "ClockSkew": [_one('foreshock_venue_clock_ahead_seconds{venue="okx"}', "1.5x80", "0.9x80")],
    "BooksLost": [
        Case(
            {
                'foreshock_books{venue="okx",standing="lost",partition="p"}': "3x80",
                'foreshock_books{venue="okx",standing="known",partition="p"}': "7x80",
            },
            {
                'foreshock_books{venue="okx",standing="lost",partition="p"}': "1x80",
                'foreshock_books{venue="okx",standing="known",partition="p"}': "9x80",
            },
        )
    ],
    "FeatureStale": [_aged(f'foreshock_feature_freshness_seconds{{{WHERE},partition="0"}}', "3x20 3+15x60", "29x80")],
    "FeatureSetHeld": [_one(f"foreshock_closing_held_seconds{{{WHERE}}}", "0+15x80", "0x50 150x30")],
    "ParityMismatch": [
        _one('foreshock_parity_mismatch_total{partition="0",reason="values"}', "_x40 1x40", "0x80"),
    ],
    "TritonDown": [
        _one('up{job="triton"}', "1x40 0x40", "1x80"),
        Case({'up{job="foreshock",process="infer-0"}': "1x80"}, {'up{job="triton"}': "1x80"}),
    ],
    "TritonCanaryFailing": [_one('foreshock_canary_answered{model="lstm-ticks"}', "1x40 0x40", "1x58 0 1x20")],
    "BreakerOpen": [_one('foreshock_breaker_state{process="infer-0"}', "0x20 2 1 2 1 2x60", "0x50 2 0x30")],
    "InferenceQueueSaturated": [
        Case(
            {
                'nv_inference_queue_duration_us{model="m",version="1"}': "0+600x80",
                'nv_inference_request_duration_us{model="m",version="1"}': "0+1000x80",
            },
            {
                'nv_inference_queue_duration_us{model="m",version="1"}': "0+400x80",
                'nv_inference_request_duration_us{model="m",version="1"}': "0+1000x80",
            },
        )
    ],
    "SlotMissBudgetBurn": [
        Case(_slots("0+80x400"), _slots("0+25x400"), **LONG),  # 8 %: 16 times the budget; 2.5 %: 5 times
        Case(_slots("0+40x400"), _slots("0+500x340 170000x60"), **LONG),  # what is over, is over in the short window
    ],
    "ModelShareBudgetBurn": [
        Case(_shares("0+200x400"), _shares("0+50x400"), **LONG),
        Case(_shares("0+70x400"), _shares("0+2000x340 680000x60"), **LONG),
    ],
    "CoverageBudgetBurn": [
        Case(_scored("0+65x400"), _scored("0+88x400"), **LONG),
        Case(_scored("0+82x400"), _scored("0+90x400"), **LONG),
    ],
    "CoverageOutOfBand": [
        Case(_scored("0+75x400"), _scored("0+81x400"), **LONG),
        Case(_scored("0+99x400"), _scored("0+98x400"), **LONG),
        Case(
            _scored("0+75x400"),
            {
                'foreshock_forecasts_scored_total{horizon="1m",expert="combined"}': "0+1x400",
                'foreshock_covered_total{horizon="1m",level="0.9"}': "0x400",
            },  # 360 outcomes say too little
            **LONG,
        ),
    ],
    "ScoreWorseThanBaseline": [Case(_scored("0+90x400", "0+1.2x400"), _scored("0+90x400", "0+1.05x400"), **LONG)],
    "DriftDetected": [_one('foreshock_drift_alarms_total{kind="skill",horizon="1m"}', "_x40 1x40", "0x80")],
    "StateRestoreSlow": [_one(f"foreshock_joining_seconds{{{WHERE}}}", "0+15x80", "0x50 40 55 0x30")],
    "RebalanceStorm": [_one(f"foreshock_rebalances_total{{{WHERE}}}", "0+1x80", "0x30 1 2 3 3x50")],
    "DiskWillFill": [
        Case(
            {
                'foreshock_disk_free_bytes{folder="kafka"}': "10000000000-20000000x400",
                'foreshock_disk_size_bytes{folder="kafka"}': "100000000000x400",
            },
            {
                'foreshock_disk_free_bytes{folder="kafka"}': "10000000000-1000000x400",
                'foreshock_disk_size_bytes{folder="kafka"}': "100000000000x400",
            },
            at="90m",
        ),
        Case(
            {
                'foreshock_disk_free_bytes{folder="kafka"}': "40x80",
                'foreshock_disk_size_bytes{folder="kafka"}': "1000x80",
            },
            {
                'foreshock_disk_free_bytes{folder="kafka"}': "60x80",
                'foreshock_disk_size_bytes{folder="kafka"}': "1000x80",
            },
        ),
    ],
}
