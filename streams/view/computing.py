"""Rebuilding and explaining a forecast, and the doctor: processes of their own, one at a time, with a deadline.

The networks need torch, which takes half a gigabyte: the server never imports it.
"""

import asyncio
import contextlib
import os
import signal

from schemas.errors import StateError
from streams.receipts import parse_id
from streams.run import foreshock
from streams.settings import Settings

DEADLINE_SECONDS = 180.0
_COMMANDS = {
    "rebuild": ("rebuild", "--json"),
    "explain": ("explain", "--json"),
    "doctor": ("doctor", "--json"),
}
KINDS = tuple(_COMMANDS)
_MOST_BYTES = 1 << 20


class Computing:
    """Runs one command at a time."""

    def __init__(self, settings: Settings, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._environment = os.environ | settings.environment() | {"FORESHOCK_METRICS_PORT": "0"}
        self._deadline = deadline_seconds
        self._one = asyncio.Lock()

    async def run(self, kind: str, forecast_id: str) -> tuple[int, str, str]:
        """Return exit status, output and the last line of errors of a command.

        Raises SettingsError for what is no id, StateError while another one runs or where it takes too long.
        """
        arguments = list(_COMMANDS[kind])
        if kind != "doctor":
            parse_id(forecast_id)
            arguments += ["--", forecast_id]
        if self._one.locked():
            raise StateError("another computation runs: wait until it is done")
        async with self._one:
            return await self._run(arguments)

    async def _run(self, arguments: list[str]) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *foreshock(*arguments),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, errors = await asyncio.wait_for(process.communicate(), self._deadline)
        except TimeoutError:
            raise StateError(f"not done within {self._deadline:g} s; ask at the command line") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        return process.returncode or 0, out[:_MOST_BYTES].decode("utf-8", "replace"), lines[-1] if lines else ""
