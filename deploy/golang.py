"""Programs built once from Go modules, each module by version and checksum."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.cache import cache_dir, fingerprint, once, say
from deploy.environment import packages
from schemas.errors import StackError

OLDEST_GO = (1, 26)


def program(modules: Path, package: str, name: str) -> Path:
    """Return the program `name`, built once in the cache from `package` as ``modules``/go.mod and go.sum pin it.

    Raises StackError where it cannot be built.
    """
    sums = [(modules / file).read_bytes() for file in ("go.mod", "go.sum")]
    folder = cache_dir() / name / fingerprint(*sums)
    return once(folder, lambda target: _build(target, modules, package, name)) / name


def _build(target: Path, modules: Path, package: str, name: str) -> None:
    say(f"building {name} (the first time takes a minute or two)")
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        source = Path(scratch) / "source"
        source.mkdir()
        for file in ("go.mod", "go.sum"):
            shutil.copy(modules / file, source)
        _run(scratch, source, name, "build", "-ldflags=-s -w", "-o", str(target / name), package)


def module_folder(target: Path, module: str, checksum: str) -> Path:
    """Unpack `module` (path@version), without what it depends on, below `target`; return its folder.

    Raises StackError where it is not reached, or is another than `checksum` says.
    """
    said = json.loads(_run(str(target), target, module, "mod", "download", "-json", module))
    if said["Sum"] != checksum:
        raise StackError(f"{module}: its checksum is {said['Sum']}, expected {checksum}.")
    return Path(said["Dir"])


def _run(scratch: str, folder: Path, what: str, *arguments: str) -> str:
    environment = os.environ | {
        "GOFLAGS": "-mod=readonly -modcacherw -trimpath -buildvcs=false" if arguments[0] == "build" else "-modcacherw",
        "GOTOOLCHAIN": "local",  # the Go that is here, never a download of another
        "GOPATH": f"{scratch}/path",
        "GOCACHE": f"{scratch}/cache",
        "GONOSUMDB": "*",  # checksums are ours
        "CGO_ENABLED": "0",
    }
    command = [str(go_program()), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"{what} could not be had: {_problem(done)[:300]}\nSee that Go's module proxy is reached.")
    return done.stdout


def _problem(done: "subprocess.CompletedProcess[str]") -> str:
    """Return what Go said was wrong: `mod download -json` says it in an object."""
    try:
        return str(json.loads(done.stdout)["Error"])
    except (ValueError, KeyError):
        lines = (done.stderr or done.stdout).strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def go_program() -> Path:
    """Return a `go` that is new enough: the one on PATH, or that of a Python package."""
    found = shutil.which("go")
    if found and _version(found) >= OLDEST_GO:
        return Path(found)
    root = packages("go") / "go"
    for file in (*(root / "bin").iterdir(), *(root / "pkg" / "tool").glob("*/*")):
        file.chmod(0o755)  # wheels do not keep it
    return root / "bin" / "go"


def _version(go: str) -> tuple[int, ...]:
    try:
        said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return (0,)
    number = re.match(r"go(\d+)\.(\d+)", said.stdout)
    return (int(number[1]), int(number[2])) if number else (0,)
