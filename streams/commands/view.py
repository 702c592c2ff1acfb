"""`foreshock view`: a live page in the browser."""

import asyncio
import signal
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import SettingsError
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.view.server import ViewServer

_GRACE_SECONDS = 1.0


def view(
    port: Annotated[int, typer.Option(help="Port of the page; 0: any that is free.", min=0, max=65535)] = 8750,
    host: Annotated[str, typer.Option(help="Address to listen on; other than this machine's own: seen by others.")] = (
        "127.0.0.1"
    ),
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Show forecasts against what happened, coverage, attention, data quality and the stack's health, live."""
    from streams.view.guard import is_loopback
    from streams.view.server import ViewServer

    settings = Settings.from_environment()
    if not is_loopback(host):
        typer.secho(
            f"{host}: everybody who reaches this address can read the page, without a password; "
            "rebuilding and explaining are off",
            fg="yellow",
            err=True,
        )
    asyncio.run(_serve(ViewServer(settings, host), host, port, browser=browser))


async def _serve(server: "ViewServer", host: str, port: int, *, browser: bool) -> None:
    from aiohttp import web

    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=_GRACE_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(f"--host {host} --port {port}: cannot be listened on ({error.strerror})") from None
        address = _address(host, runner.addresses[0][1])
        typer.echo(f"{address} (end with Ctrl-C)")
        if browser:
            await asyncio.to_thread(webbrowser.open, address)
        await _until_told()
    finally:
        await runner.cleanup()


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


async def _until_told() -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
