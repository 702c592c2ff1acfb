"""An S3 server on this machine: versitygw over a folder, built once from its Go modules.

It was chosen because two writers can never both win `If-None-Match: *` on one key, which is how a
Delta table commits. S3Proxy 3.3.0 (Maven Central) lets 2 to 8 of 8 racing writers win in most rounds,
and rclone 1.75.2 (PyPI) ignores the header: with either, commits are lost.

`python -m deploy.s3` builds it ahead of its first start.
"""

import http.client
import sys
from pathlib import Path

from deploy.cache import DEPLOY, say
from deploy.daemon import Daemon
from deploy.environment import SetupError
from deploy.golang import program
from deploy.ports import LOOPBACK, require_free
from schemas.errors import StackError

MODULES = DEPLOY / "versitygw"
"""go.mod and go.sum: every module by version and checksum."""
COMMAND = "github.com/versity/versitygw/cmd/versitygw"
READY_SECONDS = 20.0
STOP_SECONDS = 5.0
_ACCESS_KEY = "foreshock"
_SECRET_KEY = "loopback-only"  # noqa: S105 - of a server that nobody else can reach


def s3_program() -> Path:
    """Return versitygw, built once (about 2 minutes of CPU) from modules equal to ``deploy/versitygw/go.sum``."""
    return program(MODULES, COMMAND, "versitygw")


class S3Server:
    """An S3 server whose buckets are the folders in `folder`/buckets; pid file and log lie beside them."""

    name = "s3"

    def __init__(self, folder: Path, port: int) -> None:
        self._port = port
        self._buckets = folder / "buckets"
        self.daemon = Daemon(self.name, folder)

    @property
    def environment(self) -> dict[str, str]:
        """The AWS_* variables with which a client reaches it."""
        return {
            "AWS_ENDPOINT_URL": f"http://{LOOPBACK}:{self._port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }

    def create_bucket(self, name: str) -> None:
        """Make an empty bucket: a folder is one."""
        (self._buckets / name).mkdir(parents=True)

    def start(self) -> None:
        """Start it and return when it answers; raises StackError if it cannot be built or started."""
        try:
            server = s3_program()
        except SetupError as error:
            raise StackError(str(error)) from error
        self._buckets.mkdir(parents=True, exist_ok=True)
        require_free("S3", s3_port=self._port)
        keys = {"ROOT_ACCESS_KEY": _ACCESS_KEY, "ROOT_SECRET_KEY": _SECRET_KEY, "PATH": "/usr/bin:/bin"}
        command = [str(server), "--port", f"{LOOPBACK}:{self._port}", "--quiet", "posix", str(self._buckets)]
        self.daemon.start(command, keys)
        self.daemon.wait_until(self.is_ready, READY_SECONDS)

    def stop(self) -> None:
        """Stop it; its buckets stay."""
        self.daemon.stop(STOP_SECONDS)

    def is_ready(self) -> bool:
        """Say whether it answers a request, if only to refuse it for want of a signature."""
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=1)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status in {http.HTTPStatus.OK, http.HTTPStatus.FORBIDDEN}
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


if __name__ == "__main__":
    try:
        print(s3_program())
    except (SetupError, StackError) as failure:
        say(str(failure))
        sys.exit(1)
