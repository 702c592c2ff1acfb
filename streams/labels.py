"""Which instruments have a label of their own in metrics: each is as many series as a metric has others."""

from schemas.errors import SettingsError


class InstrumentLabels:
    """An allow-list: the ids that are named, or the first N that are asked for.

    >>> first = InstrumentLabels("1")
    >>> first.allows("okx:BTC-USDT"), first.allows("okx:ETH-USDT"), first.allows("okx:BTC-USDT")
    (True, False, True)
    >>> InstrumentLabels("okx:ETH-USDT").allows("okx:BTC-USDT")
    False
    """

    def __init__(self, setting: str) -> None:
        """Read FORESHOCK_METRICS_INSTRUMENTS; raises SettingsError."""
        names = {name.strip() for name in setting.split(",") if name.strip()}
        count = setting.strip().isdigit()
        self._room = int(setting) if count else 0
        self._names: set[str] = set() if count else names
        strange = sorted(name for name in self._names if ":" not in name)
        if strange:
            raise SettingsError(
                f"FORESHOCK_METRICS_INSTRUMENTS: expected ids such as binance:BTC-USDT, or a count, got {strange[0]!r}"
            )

    def allows(self, instrument_id: str) -> bool:
        """Say whether the instrument has a label."""
        if instrument_id not in self._names and len(self._names) < self._room:
            self._names.add(instrument_id)
        return instrument_id in self._names
