"""All baselines, by name."""

from collections.abc import Iterator

from triton_models.baselines import boosting, ewma, garch, har, naive, recursive
from triton_models.baselines.corrected import Corrected

_MODULES = (naive, ewma, garch, har, recursive, boosting)


def experts() -> Iterator[Corrected]:
    """Yield every baseline, from weak to strong."""
    for module in _MODULES:
        yield from module.experts()
