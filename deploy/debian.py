"""Programs of Debian packages: those of the system where they are installed, else fetched without root.

apt fetches with lists of its own in the cache, and checks signatures and sums as it always does; a package is
unpacked there and never installed. Which version that is, the machine's Debian says.
"""

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.cache import cache_dir, fingerprint, once, say
from schemas.errors import StackError

DPKG_STATUS = Path("/var/lib/dpkg/status")
_APT_SECONDS = 300
_NETWORK = ("-o", "Acquire::Retries=3", "-o", "Acquire::Languages=none")


def debian_program(program: str, package: str) -> Path:
    """Return a program from PATH, or out of its Debian package; raises StackError with what to do."""
    found = shutil.which(program)
    if found is not None:
        return Path(found)
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise StackError(
            f"{program} is not on PATH, and this machine has no apt to fetch the package {package!r} with.\n"
            f"Install {program} so that it is on PATH (it is a single program: its releases hold it for Linux)."
        )
    folder = cache_dir() / "debian" / fingerprint(package, _release())
    return once(folder, lambda target: _fetch(target, package)) / "usr" / "bin" / program


def _release() -> str:
    system = platform.freedesktop_os_release()
    return f"{system.get('ID')} {system.get('VERSION_ID')} {platform.machine()}"


def _fetch(target: Path, package: str) -> None:
    say(f"fetching the Debian package {package}")
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        apt = Path(scratch)
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (apt / folder).mkdir(parents=True)
        options = (
            "-q", "-o", f"Dir::State={apt / 'state'}", "-o", f"Dir::State::status={DPKG_STATUS}",
            "-o", f"Dir::Cache={apt / 'cache'}", "-o", "APT::Sandbox::User=", *_NETWORK,
        )  # fmt: skip
        _run(package, apt, "apt-get", *options, "update")
        _run(package, apt, "apt-get", *options, "download", package)
        for archive in apt.glob("*.deb"):
            _run(package, apt, "dpkg", "-x", str(archive), str(target))


def _run(package: str, folder: Path, *command: str) -> None:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"LC_ALL": "C"}, capture_output=True, text=True, check=False,
        timeout=_APT_SECONDS,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise StackError(
            f"the Debian package {package} could not be fetched: {said[-1][:300]}\n"
            f"See that apt reaches its mirror, or install it: apt install {package}"
        )
