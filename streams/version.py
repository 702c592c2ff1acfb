"""Which Foreshock this is."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tomllib import loads

_PROJECT = Path(__file__).parent.parent / "pyproject.toml"


@cache
def app_version() -> str:
    """Return the installed version; from a checkout that of its pyproject.toml and `+checkout`; else `unknown`."""
    try:
        return version("foreshock")
    except PackageNotFoundError:
        if not _PROJECT.exists():
            return "unknown"
        return f"{loads(_PROJECT.read_text())['project']['version']}+checkout"
