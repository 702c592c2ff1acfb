"""All dashboards, and the files that hold their JSON."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as Built

from deploy.cache import DEPLOY
from deploy.dashboards import forecasts, inference, ingest, overview, streams
from deploy.dashboards.frame import TAG, assemble, others
from deploy.dashboards.runbooks import runbook_board

FOLDER = DEPLOY / "dashboards" / "json"
BOARDS = (overview.BOARD, ingest.BOARD, streams.BOARD, inference.BOARD, forecasts.BOARD)


def built() -> list[Built]:
    """Return all dashboards as Grafana's, the one of runbooks last."""
    return [*map(assemble, BOARDS), runbook_board(others(), TAG)]


def text(board: Built) -> str:
    """Return a dashboard's JSON."""
    return json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def generated(folder: Path = FOLDER) -> dict[Path, str]:
    """Return the text of every file of `folder`."""
    return {folder / f"{board.uid}.json": text(board) for board in built()}


def write(folder: Path = FOLDER) -> list[Path]:
    """Write every file, and return those that changed."""
    changed = [path for path, content in generated(folder).items() if not _holds(path, content)]
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(generated(folder)[path])
    return changed


def _holds(path: Path, content: str) -> bool:
    return path.exists() and path.read_text() == content
