"""Streams and Kafka: how far the readers are, what joining and restoring cost, and how the processes do."""

from deploy.dashboards.frame import Dashboard
from deploy.dashboards.limits import limit
from deploy.dashboards.panels import Chart, Number, Query, States
from deploy.dashboards.promql import FOREIGN, gauge, increase, mean, or_zero, quantile, rate, select
from schemas.metrics import (
    CHECKPOINT_BYTES,
    CHECKPOINT_DURATION,
    CLOSING_HELD,
    DISK_FREE,
    DISK_SIZE,
    FEATURE_FRESHNESS,
    JOINING,
    LOOP_LAG,
    OFFSET_LAG,
    OFFSET_LAG_SECONDS,
    PENDING_EVENTS,
    PROCESS_RESTARTS,
    PROCESS_RUNNING,
    READ_OFFSET,
    REBALANCES,
    ROWS,
    STATE_RESTORE_DURATION,
    STORE_COMMIT_DURATION,
    STORE_REPEATS,
    STORE_ROWS,
    WATERMARK,
    WINDOW_CLOSE_DELAY,
)

_UP = FOREIGN["up"]
_CPU = FOREIGN["process_cpu_seconds_total"]
_MEMORY = FOREIGN["process_resident_memory_bytes"]
_OPEN, _MAY_OPEN = FOREIGN["process_open_fds"], FOREIGN["process_max_fds"]

_READING = (
    Chart(
        title="Lag in seconds",
        description="For how long the oldest message not read yet is known to lie on its topic; the worst partition.",
        unit="s",
        limits=(limit("lag_seconds"),),
        alerts=("LagHigh",),
        queries=(Query(gauge("max", OFFSET_LAG_SECONDS, "topic"), "{{topic}}"),),
    ),
    Chart(
        title="Lag in messages",
        description="Messages not read yet, over all partitions of a topic.",
        unit="none",
        queries=(Query(gauge("sum", OFFSET_LAG, "topic"), "{{topic}}"),),
    ),
    Chart(
        title="Messages read",
        description="How fast readers advance. Lag that grows while this is 0: a reader is stuck.",
        unit="ops",
        alerts=("StreamStalled",),
        queries=(Query(f"sum by (topic) (clamp_min(deriv({select(READ_OFFSET)}[1m]), 0))", "{{topic}}"),),
    ),
    Chart(
        title="Age of watermarks",
        description="Now minus the event time up to which a stage is done; the partition that is furthest behind. In a "
        "replay it is the age of the recording.",
        unit="s",
        limits=(limit("watermark_age"),),
        alerts=("WatermarkStuck",),
        queries=(Query(f"time() - {gauge('min', WATERMARK, 'stage')}", "{{stage}}"),),
    ),
    Chart(
        title="Freshness of rows",
        description="Now minus the border of the last row written, by partition. In a replay the age of the recording.",
        unit="s",
        limits=(limit("feature_age"),),
        alerts=("FeatureStale",),
        queries=(Query(gauge("max", FEATURE_FRESHNESS, "partition"), "partition {{partition}}"),),
    ),
    Chart(
        title="Closing of windows",
        description="From the message that completed rows to the rows handed over, and for how long a proposed feature "
        "set holds rows back.",
        unit="s",
        limits=(limit("held_seconds"),),
        alerts=("FeatureSetHeld",),
        queries=(
            Query(quantile(0.5, WINDOW_CLOSE_DELAY), "p50"),
            Query(quantile(0.99, WINDOW_CLOSE_DELAY), "p99"),
            Query(gauge("max", CLOSING_HELD), "held by a feature set"),
        ),
    ),
    Chart(
        title="Rows written",
        description="One per instrument and border. It falls by steps where a partition stands still.",
        unit="ops",
        stacked=True,
        queries=(Query(rate(ROWS, "partition"), "partition {{partition}}"),),
    ),
    Chart(
        title="Events held in open tiles",
        description="Events that wait for their border, by partition.",
        unit="none",
        queries=(Query(gauge("sum", PENDING_EVENTS, "partition"), "partition {{partition}}"),),
    ),
    Chart(
        title="Event loops",
        description="Delay of a stage's event loop at the last look: a process that computes does not read.",
        unit="s",
        queries=(Query(gauge("max", LOOP_LAG, "stage"), "{{stage}}"),),
    ),
)

_STATE = (
    Chart(
        title="Partitions given",
        description="Times that partitions were given to a stage's processes, in each step. Without changes of "
        "processes there are none.",
        unit="none",
        alerts=("RebalanceStorm",),
        queries=(Query(increase(REBALANCES, "stage"), "{{stage}}"),),
    ),
    Chart(
        title="Waiting for partitions or state",
        description="For how long a process has waited for partitions or restored their state. 0: it reads.",
        unit="s",
        limits=(limit("restore_seconds"),),
        alerts=("StateRestoreSlow",),
        queries=(Query(gauge("max", JOINING, "stage"), "{{stage}}"),),
    ),
    Chart(
        title="Restoring",
        description="From asking for partitions to reading on with their state restored: mean since the processes "
        "started.",
        unit="s",
        queries=(
            Query(
                f"sum by (stage) ({select(STATE_RESTORE_DURATION, '_sum')}) / "
                f"sum by (stage) ({select(STATE_RESTORE_DURATION, '_count')})",
                "{{stage}}",
            ),
        ),
    ),
    Chart(
        title="Size of checkpoints",
        description="The last checkpoint of each stage, over its partitions: what a restore has to read.",
        unit="bytes",
        queries=(Query(gauge("sum", CHECKPOINT_BYTES, "stage"), "{{stage}}"),),
    ),
    Chart(
        title="Time of a checkpoint",
        description="From taking a checkpoint to its acknowledgement, p99.",
        unit="s",
        queries=(Query(quantile(0.99, CHECKPOINT_DURATION, "stage"), "{{stage}}"),),
    ),
    Chart(
        title="Offline store",
        description="Records written to each table, and those read again and left out.",
        unit="ops",
        queries=(
            Query(rate(STORE_ROWS, "table"), "{{table}}"),
            Query(or_zero(rate(STORE_REPEATS)), "read again"),
        ),
    ),
    Chart(
        title="Time of a commit to the store",
        description="Mean of one commit of a table.",
        unit="s",
        queries=(Query(mean(STORE_COMMIT_DURATION, "table"), "{{table}}"),),
    ),
)

_PROCESSES = (
    States(
        title="Processes that answer Prometheus",
        description="By job and address. A process that is down tells nothing else either.",
        unit="none",
        alerts=("ProcessDown",),
        words=((0, "down", "red"), (1, "up", "green")),
        queries=(Query(gauge("min", _UP, "job", "stage", "instance"), "{{job}} {{stage}} {{instance}}"),),
    ),
    States(
        title="Processes of `foreshock run`",
        description="Whether each process that `foreshock run` looks after runs; it starts again one that has ended.",
        unit="none",
        words=((0, "ended", "red"), (1, "runs", "green")),
        queries=(Query(gauge("max", PROCESS_RUNNING, "process"), "{{process}}"),),
    ),
    Chart(
        title="Restarts",
        description="Times that `foreshock run` has started a process again, in each step.",
        unit="none",
        alerts=("ProcessRestarting",),
        queries=(Query(increase(PROCESS_RESTARTS, "process"), "{{process}}"),),
    ),
    Chart(
        title="Processor",
        description="Cores in use by a stage's processes.",
        unit="none",
        stacked=True,
        queries=(Query(rate(_CPU, "stage", "job"), "{{job}} {{stage}}"),),
    ),
    Chart(
        title="Memory",
        description="Resident memory of a stage's processes.",
        unit="bytes",
        stacked=True,
        queries=(Query(gauge("sum", _MEMORY, "stage", "job"), "{{job}} {{stage}}"),),
    ),
    Chart(
        title="Open files and connections",
        description="As a share of what a process may open; the worst process of a stage.",
        unit="percentunit",
        maximum=1.0,
        queries=(Query(f"max by (stage, job) ({select(_OPEN)} / {select(_MAY_OPEN)})", "{{job}} {{stage}}"),),
    ),
    Number(
        title="Disk free",
        description="The folder whose disk has the least room left: state, store, or Kafka's log.",
        unit="percentunit",
        limits=(limit("disk_least_ratio", below=True),),
        alerts=("DiskWillFill",),
        width=8,
        height=7,
        queries=(Query(f"min({select(DISK_FREE)} / {select(DISK_SIZE)})", "free"),),
    ),
    Chart(
        title="Room on disks",
        description="What is left where each folder lies.",
        unit="bytes",
        width=16,
        queries=(Query(gauge("min", DISK_FREE, "folder"), "{{folder}}"),),
    ),
)

BOARD = Dashboard(
    uid="foreshock-streams",
    title="Foreshock / Streams and Kafka",
    description="Who reads how far, what rebalancing costs, and whether processes have what they need.",
    rows=(("Reading", _READING), ("State", _STATE), ("Processes", _PROCESSES)),
)
