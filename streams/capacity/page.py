"""The page deploy/docs/capacity.md: `python -m streams.capacity.page` writes it."""

from deploy.cache import CHECKOUT
from streams.capacity.costs import COSTS
from streams.capacity.plan import MOST_BUSY, Plan, plan

PAGE = CHECKOUT / "deploy" / "docs" / "capacity.md"
WORKED = ((10, 300.0), (1_000, 5_000.0), (10_000, 30_000.0))
_HEAD = f"""\
# Capacity

Made by `python -m streams.capacity.page`; `foreshock capacity --instruments N --events-per-second M` plans any load.

A plan keeps every worker under {MOST_BUSY:.0%} of a core, gives each whole partitions, and is then played through:
300 borders, all partitions due at once, service times that vary by 30 %. Costs were measured on two busy cores of one
machine, in processor seconds: take ratios, and measure your own. Those called upper bounds come from batches of two
rows, whose fixed part is then counted for every row: a large installation needs less than its plan. Not measured:
Triton on a GPU, replicas of topics (multiply network and disk by their number), the store.

## What grows with what

* Partitions are fixed once topics exist: choose them for the load to come. A stage never uses more workers than them.
* ingest and featurize grow with partitions first, then with events; infer and score with forecasts, one for each
  instrument and row interval; Triton with blocks of 16 rows; memory of featurize with instruments.
* Beyond 64 workers of a stage (the range of `FORESHOCK_WORKER`) instruments are split over several installations.

"""


def text() -> str:
    """Return the page."""
    parts = [_HEAD, "## Costs\n\n| figure | value | unit | what | measured |\n| --- | --- | --- | --- | --- |\n"]
    parts += [
        f"| {name} | {each.value:g} | {each.unit} | {each.what} | {each.source} |\n" for name, each in COSTS.items()
    ]
    for load in WORKED:
        parts.append(f"\n## {load[0]:,} instruments, {load[1]:,.0f} events/s\n\n{table(plan(*load))}")
    return "".join(parts)


def table(found: Plan) -> str:
    """Return a plan as Markdown."""
    parts = f"{found.installations} installation(s)"
    lines = [f"{parts}, each of {found.instruments:,} instruments and {found.partitions} partitions:\n\n"]
    lines.append("| process | count | cores in all | busiest | memory of one |\n| --- | --- | --- | --- | --- |\n")
    for name, need in found.needs.items():
        memory = f"{need.memory_bytes / 1e6:,.0f} MB"
        lines.append(f"| {name} | {need.count} | {need.cores:.2f} | {need.busy:.0%} | {memory} |\n")
    rate, day = found.written_bytes_per_second / 1e6, found.disk_bytes_per_day / 1e9
    lines.append(
        f"\nKafka takes {rate:.1f} MB/s, {day:,.0f} GB a day for each replica. A forecast is there "
        f"{found.p50_seconds:.2f} s (p50), {found.p99_seconds:.2f} s (p99) after the lateness bound.\n"
    )
    return "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(text())
