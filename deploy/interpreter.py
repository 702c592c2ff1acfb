"""The Python that Foreshock runs on: 3.11 to 3.13, with its shared library.

Triton's Python backend loads that library; the interpreter alone is not enough.
"""

import sys
import sysconfig
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 13)


def shared_library() -> Path | None:
    """Return this interpreter's ``libpython3.x.so.1.0``, or None where it is not installed."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    libdir = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    multiarch = str(sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu")
    folders = (libdir, libdir / multiarch, Path(sys.base_prefix) / "lib", Path("/usr/lib") / multiarch)
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def is_suitable() -> bool:
    """Say whether this interpreter can carry Foreshock."""
    return OLDEST <= sys.version_info[:2] <= NEWEST and shared_library() is not None


if __name__ == "__main__":
    sys.exit(0 if is_suitable() else 1)
