"""The numbers that alerts are made with: read from deploy/thresholds.yaml, for a profile."""

from pathlib import Path
from typing import Any, Literal

import yaml

from deploy.cache import DEPLOY
from schemas.errors import SettingsError

Profile = Literal["production", "test"]
FILE = DEPLOY / "thresholds.yaml"
_KEYS = ("value", "unit", "reason", "change")
_UNITS = ("s", "1/s", "ratio", "count")


class Thresholds:
    """Numbers by name, of one profile."""

    def __init__(self, profile: Profile = "production", path: Path = FILE) -> None:
        """Read the file; raises SettingsError that names what is missing or strange."""
        self._values: dict[str, float] = {}
        self._units: dict[str, str] = {}
        for name, entry in yaml.safe_load(path.read_text()).items():
            _check(name, entry)
            self._values[name] = entry.get("test", entry["value"]) if profile == "test" else entry["value"]
            self._units[name] = entry["unit"]

    def __getitem__(self, name: str) -> str:
        """Return a number as PromQL writes it."""
        return f"{self._values[name]:g}"

    def duration(self, name: str) -> str:
        """Return a number of seconds as a duration of PromQL; raises SettingsError for another unit.

        >>> Thresholds().duration("window_fast_short"), Thresholds("test").duration("window_fast_short")
        ('5m', '15s')
        """
        if self._units[name] != "s":
            raise SettingsError(f"{FILE.name}: {name} is no time")
        seconds = int(self._values[name])
        for unit, size in (("h", 3600), ("m", 60)):
            if seconds % size == 0:
                return f"{seconds // size}{unit}"
        return f"{seconds}s"

    def fill(self, text: str) -> str:
        """Return a text with `<name>` replaced by numbers, `[name]` by windows and `_{name}` by durations in names."""
        for name in sorted(self._values, key=len, reverse=True):
            text = text.replace(f"<{name}>", self[name])
            if self._units[name] == "s":
                text = text.replace(f"[{name}]", f"[{self.duration(name)}]").replace(
                    f"_{{{name}}}", f"_{self.duration(name)}"
                )
        return text

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._values)


def _check(name: str, entry: dict[str, Any]) -> None:
    missing = [key for key in _KEYS if key not in entry]
    if missing or entry["unit"] not in _UNITS or set(entry) - {*_KEYS, "test"}:
        raise SettingsError(f"{FILE.name}: {name} needs {', '.join(_KEYS)} and may have test; unit: {' '.join(_UNITS)}")
