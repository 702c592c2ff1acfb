"""`foreshock up` and `foreshock down`: the local Kafka and Triton, and what watches them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.ports import Ports
from deploy.security import USERS
from deploy.stack import MONITORING, SERVICES, Stack, default_folder
from streams.settings import Settings
from streams.targets import targets_folder

Name = Annotated[str, typer.Option(help="Name of the stack; two names are two stacks, given different ports.")]


def up(
    name: Name = "default",
    kafka_only: Annotated[bool, typer.Option("--kafka-only", help="Start no Triton.")] = False,
    monitoring: Annotated[
        bool, typer.Option("--monitoring", help="Start Prometheus and Alertmanager too, with rules and alerts.")
    ] = False,
    supervise: Annotated[bool, typer.Option("--supervise", help="Bring a server back that ends.")] = False,
    secured: Annotated[
        bool,
        typer.Option(
            "--secured", help="A new stack's Kafka asks for TLS, a user and rules; see deploy/docs/security.md."
        ),
    ] = False,
) -> None:
    """Start Kafka and Triton on loopback, or what is missing of them."""
    console = Console()
    settings = Settings.from_environment()
    stack = Stack(default_folder(name))
    services = (*(("kafka",) if kafka_only else SERVICES), *(MONITORING if monitoring else ()))
    stack.watch(targets_folder(settings))
    with console.status("starting the stack"):
        stack.up(
            services,
            ports=ports_of(settings),
            repository=Path(settings.model_repository),
            secured=secured or None,
            supervise=supervise,
        )
    console.print(f"Kafka  {stack.bootstrap_servers}")
    if not kafka_only:
        console.print(f"Triton {stack.triton_grpc} (gRPC), {stack.triton_metrics} (metrics)")
    if monitoring:
        console.print(f"Prometheus   http://{stack.prometheus}\nAlertmanager http://{stack.alertmanager}")
    if stack.plan.secured:
        console.print(f"users  . {stack.security.folder}/USER.env, USER one of {', '.join(USERS)}", soft_wrap=True)
    console.print(f"logs   {stack.folder}", soft_wrap=True)


def down(
    name: Name = "default",
    wipe: Annotated[bool, typer.Option("--wipe", help="Delete its topics too.")] = False,
) -> None:
    """Stop everything that `foreshock up` started."""
    Stack(default_folder(name)).down(wipe=wipe)


def ports_of(settings: Settings) -> Ports:
    """Return the ports that the settings name."""
    return Ports(
        kafka=settings.kafka_port,
        kafka_controller=settings.kafka_controller_port,
        triton_http=settings.triton_http_port,
        triton_grpc=settings.triton_grpc_port,
        triton_metrics=settings.triton_metrics_port,
        prometheus=settings.prometheus_port,
        alertmanager=settings.alertmanager_port,
    )
