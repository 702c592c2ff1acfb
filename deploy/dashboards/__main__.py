"""`python -m deploy.dashboards` writes the JSON of the dashboards into deploy/dashboards/json."""

import sys

from deploy.cache import CHECKOUT


def main() -> int:
    """Write what changed and say so; 2 where the builder is not installed."""
    try:
        from deploy.dashboards.boards import write
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("grafana_foundation_sdk"):
            raise
        print("grafana-foundation-sdk is not installed: pip install -e '.[dev]'", file=sys.stderr)
        return 2
    changed = write()
    for path in changed:
        print(f"wrote {path.relative_to(CHECKOUT)}")
    if not changed:
        print("all dashboards are as their modules say")
    return 0


if __name__ == "__main__":
    sys.exit(main())
