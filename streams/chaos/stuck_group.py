"""A member of a consumer group that joins and is never heard of again: the group cannot complete."""

import socket
from typing import Self

from aiokafka.protocol.api import RequestHeader_v1
from aiokafka.protocol.group import JoinGroupRequest_v2, JoinGroupResponse_v2

from schemas.errors import StackError

_ANSWER_SECONDS = 10.0
_SIZE_BYTES = 4


class Absent:
    """Joins `group` of Faust's workers and says no more for `seconds`, until the broker gives it up.

    Joined before the others it is the one that all wait for: their joins are answered when it is gone.
    """

    def __init__(self, bootstrap_servers: str, group: str, seconds: float) -> None:
        host, _, port = bootstrap_servers.partition(",")[0].rpartition(":")
        self._address = (host, int(port))
        self._group = group
        self._timeout_ms = int(seconds * 1000)
        self._socket = socket.socket()

    def __enter__(self) -> Self:
        """Join; raises StackError where the broker does not take the member."""
        ask = JoinGroupRequest_v2(self._group, self._timeout_ms, self._timeout_ms, "", "consumer", [("faust", b"")])
        frame = RequestHeader_v1(ask, correlation_id=1, client_id="foreshock-chaos").encode() + ask.encode()
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.connect(self._address)
        self._socket.sendall(len(frame).to_bytes(_SIZE_BYTES, "big") + frame)
        size = int.from_bytes(self._take(_SIZE_BYTES), "big")
        answer = JoinGroupResponse_v2.decode(self._take(size)[_SIZE_BYTES:])
        if answer.error_code:
            raise StackError(f"the broker let nobody join the group {self._group}: error {answer.error_code}")
        return self

    def _take(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self._socket.recv(size - len(found))
            if not more:
                raise StackError(f"the broker closed the connection of a member of {self._group}")
            found += more
        return found

    def __exit__(self, *_: object) -> None:
        self._socket.close()
