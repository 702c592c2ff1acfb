"""All experts that an evaluation runs, by name."""

from collections.abc import Iterator, Sequence

from schemas.errors import SettingsError
from triton_models.baselines import boosting, ewma, garch, har, naive
from triton_models.evaluation.panel import Expert

_MODULES = (naive, ewma, garch, har, boosting)


def experts() -> Iterator[Expert]:
    """Yield every baseline, from weak to strong."""
    for module in _MODULES:
        yield from module.experts()


def choose(names: Sequence[str]) -> tuple[Expert, ...]:
    """Return the experts with these names, all of them where none is named.

    Raises:
        SettingsError: where there is no such expert.
    """
    found = {expert.name: expert for expert in experts()}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise SettingsError(f"--models: no model {', '.join(unknown)}; there are {', '.join(found)}")
    return tuple(found[name] for name in names or found)
