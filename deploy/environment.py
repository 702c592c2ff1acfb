"""The Python environment: made in the cache by a pinned uv, from hashed requirements.

Run as a module it prints the environment's folder. Standard library alone.
"""

import os
import subprocess
import sys
from pathlib import Path

from deploy.cache import CHECKOUT, DEPLOY, cache_dir, fingerprint, locked, once, say


class SetupError(Exception):
    """Something that has to be installed, or reached, before Foreshock can run."""


def uv_program() -> Path:
    """Return uv, installed by pip into a folder of its own."""
    lock = DEPLOY / "requirements-uv.lock"
    folder = cache_dir() / "uv-program" / fingerprint(lock.read_bytes(), sys.version)
    return once(folder, lambda target: _install_uv(target, lock)) / "bin" / "uv"


def _install_uv(target: Path, lock: Path) -> None:
    # Our own environments hold no pip; the Python that they were made from does.
    python = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        raise SetupError(f"{python} has no pip. Install it (Debian: apt install python3-pip).")
    say("fetching uv")
    _run(
        python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore",
        "--no-deps", "--only-binary=:all:", "--require-hashes", "--target", str(target), "-r", str(lock),
    )  # fmt: skip


def run_uv(*arguments: str) -> None:
    """Run uv with its cache beside ours, so that nothing of the user's is touched."""
    environment = {"UV_CACHE_DIR": str(cache_dir() / "uv-cache")} | os.environ
    _run(str(uv_program()), "--quiet", *arguments, environment=environment)


def packages(name: str) -> Path:
    """Return a folder with the packages of ``requirements-NAME.lock``, outside every environment."""
    lock = DEPLOY / f"requirements-{name}.lock"
    return once(cache_dir() / name / fingerprint(lock.read_bytes(), sys.version), lambda target: _unpack(target, lock))


def _unpack(target: Path, lock: Path) -> None:
    say(f"fetching the packages of {lock.name}")
    run_uv(
        "pip", "install", "--python", sys.executable, "--target", str(target), "--no-deps", "--require-hashes",
        "-r", str(lock),
    )  # fmt: skip


def environment() -> Path:
    """Return the folder of this checkout's environment; the first call makes it."""
    lock = DEPLOY / "requirements.lock"
    key = fingerprint(lock.read_bytes(), sys.version, sys.base_prefix, str(CHECKOUT))
    folder = once(cache_dir() / "venv" / key, lambda target: _install_packages(target, lock))
    _install_project(folder)
    return folder


def _install_packages(folder: Path, lock: Path) -> None:
    say(f"installing Python packages into {folder} (the first time takes a minute and 4.5 GB)")
    run_uv("venv", "--allow-existing", "--python", sys.executable, str(folder))
    run_uv("pip", "sync", "--python", _python(folder), "--require-hashes", str(lock))


def _install_project(folder: Path) -> None:
    """Install the checkout itself, editable, again whenever pyproject.toml changed."""
    mark, state = folder / ".project", fingerprint((CHECKOUT / "pyproject.toml").read_bytes())
    with locked(folder / ".project.lock"):
        if mark.exists() and mark.read_text() == state:
            return
        run_uv(
            "pip", "install", "--python", _python(folder), "--no-deps", "--no-index", "--no-build-isolation",
            "--editable", str(CHECKOUT),
        )  # fmt: skip
        mark.write_text(state)


def _python(folder: Path) -> str:
    return str(folder / "bin" / "python")


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    # stdout is the caller's result, so what the tools say goes to stderr.
    code = subprocess.run(command, check=False, stdout=sys.stderr, env=environment).returncode
    if code:
        raise SetupError(f"`{' '.join(command)}` ended with {code}; what it said is above.")


if __name__ == "__main__":
    try:
        print(environment())
    except SetupError as error:
        say(str(error))
        sys.exit(1)
