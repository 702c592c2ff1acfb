"""An S3 server on this machine: versitygw over a folder, built once from its Go modules.

It was chosen because two writers can never both win `If-None-Match: *` on one key, which is how a
Delta table commits. S3Proxy 3.3.0 (Maven Central) lets 2 to 8 of 8 racing writers win in most rounds,
and rclone 1.75.2 (PyPI) ignores the header: with either, commits are lost.

`python -m deploy.s3` builds it ahead of its first start.
"""

import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.cache import DEPLOY, cache_dir, fingerprint, once, say
from deploy.daemon import Daemon
from deploy.environment import SetupError, packages
from deploy.ports import LOOPBACK, require_free
from schemas.errors import StackError

MODULES = DEPLOY / "versitygw"
"""go.mod and go.sum: every module by version and checksum."""
COMMAND = "github.com/versity/versitygw/cmd/versitygw"
OLDEST_GO = (1, 25)
READY_SECONDS = 20.0
STOP_SECONDS = 5.0
_ACCESS_KEY = "foreshock"
_SECRET_KEY = "loopback-only"  # noqa: S105 - of a server that nobody else can reach


def s3_program() -> Path:
    """Return versitygw, built once (about 2 minutes of CPU) from modules equal to ``deploy/versitygw/go.sum``."""
    sums = [(MODULES / name).read_bytes() for name in ("go.mod", "go.sum")]
    return once(cache_dir() / "versitygw" / fingerprint(*sums), _build) / "versitygw"


def _build(target: Path) -> None:
    go = go_program()
    say("building the S3 server (the first time takes a minute or two)")
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        source = Path(scratch) / "source"
        shutil.copytree(MODULES, source)
        environment = os.environ | {
            "GOFLAGS": "-mod=readonly -modcacherw -trimpath -buildvcs=false",
            "GOTOOLCHAIN": "local",  # the Go that is here, never a download of another
            "GOPATH": f"{scratch}/path",
            "GOCACHE": f"{scratch}/cache",
            "CGO_ENABLED": "0",
        }
        command = [str(go), "build", "-ldflags=-s -w", "-o", str(target / "versitygw"), COMMAND]
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise StackError(f"the S3 server could not be built: {said[-1][:300]}\nSee that Go's module proxy is reached.")


def go_program() -> Path:
    """Return a `go` that can build it: the one on PATH, or that of a Python package."""
    found = shutil.which("go")
    if found and _version(found) >= OLDEST_GO:
        return Path(found)
    root = packages("go") / "go"
    for program in (*(root / "bin").iterdir(), *(root / "pkg" / "tool").glob("*/*")):
        program.chmod(0o755)  # wheels do not keep it
    return root / "bin" / "go"


def _version(program: str) -> tuple[int, ...]:
    try:
        said = subprocess.run([program, "env", "GOVERSION"], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return (0,)
    number = re.match(r"go(\d+)\.(\d+)", said.stdout)
    return (int(number[1]), int(number[2])) if number else (0,)


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
            program = s3_program()
        except SetupError as error:
            raise StackError(str(error)) from error
        self._buckets.mkdir(parents=True, exist_ok=True)
        require_free("S3", s3_port=self._port)
        keys = {"ROOT_ACCESS_KEY": _ACCESS_KEY, "ROOT_SECRET_KEY": _SECRET_KEY, "PATH": "/usr/bin:/bin"}
        command = [str(program), "--port", f"{LOOPBACK}:{self._port}", "--quiet", "posix", str(self._buckets)]
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
