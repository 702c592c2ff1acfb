"""Real servers and real captures for the tests; nothing is left out silently."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from deploy.cache import CHECKOUT
from deploy.stack import Stack, private_stack

NO_DATA = "captures not found"


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of the test run's own, with Kafka running."""
    with private_stack(tmp_path_factory.mktemp("stack"), ("kafka",)) as stack:
        yield stack


@pytest.fixture(scope="session")
def stack(kafka: Stack) -> Stack:
    """The same stack with tritonserver, serving all models of the repository."""
    kafka.up()
    return kafka


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of the recorded captures: FORESHOCK_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("FORESHOCK_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            f"{NO_DATA} in {folder}; set FORESHOCK_DATA to their folder"
        )
    return folder


OWN_SERVERS = (
    "test_chaos.py",
    "test_dashboards.py",
    "test_determinism.py",
    "test_monitoring.py",
    "test_new_features.py",
    "test_promotion.py",
)
"""Long files of `tests/integration` that start servers of their own: any process may take them."""


class _ByFile(LoadScopeScheduling):
    """Gives each file to one process, and all that share servers to the same: one broker, and its load once."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "servers" if "tests/integration/" in path and not path.endswith(OWN_SERVERS) else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ByFile(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out = [report for report in terminalreporter.getreports("skipped") if NO_DATA in str(report.longrepr)]
    if left_out:
        terminalreporter.section("left out: captures not found (set FORESHOCK_DATA)")
        for report in left_out:
            terminalreporter.line(report.nodeid)
