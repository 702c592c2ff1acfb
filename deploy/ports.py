"""Where the local servers listen: loopback only, and every port is an argument."""

import random
import socket
from dataclasses import dataclass, fields

from schemas.errors import StackError

LOOPBACK = "127.0.0.1"  # not `localhost`: clients would try ::1 first


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports of one stack. `kafka_advertised`: where the broker sends clients, as through a proxy; 0: to itself."""

    kafka: int = 19092
    kafka_advertised: int = 0
    kafka_controller: int = 19093
    triton_http: int = 18000
    triton_grpc: int = 18001
    triton_metrics: int = 18002
    prometheus: int = 19090
    alertmanager: int = 19094


class PortTakenError(StackError):
    """Somebody else listens where one of our servers should."""


def free_ports() -> Ports:
    """Return ports that nobody uses now, below the range that outgoing connections are given."""
    names = [field.name for field in fields(Ports) if field.default]
    candidates = random.sample(range(20_000, 32_000), k=200)
    free = [port for port in candidates if is_free(port)]
    return Ports(**dict(zip(names, free, strict=False)))


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def require_free(owner: str, **ports: int) -> None:
    """Raise PortTakenError where a port that `owner` needs is taken by a stranger; each is named as its setting."""
    for name, port in ports.items():
        if not is_free(port):
            raise PortTakenError(
                f"{owner}: port {port} on {LOOPBACK} is taken by another program.\n"
                f"Stop that program, or set another port: FORESHOCK_{name.upper()}."
            )


def free_range(count: int) -> int:
    """Return the first of `count` free ports that follow each other."""
    for _ in range(100):
        first = free_ports().kafka
        if all(is_free(first + i) for i in range(count)):
            return first
    raise StackError(f"no {count} free ports in a row on loopback; end what listens there")
