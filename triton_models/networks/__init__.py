"""Networks, one file each; all take (features, mask, age) and correct a log-HAR forecast."""

from collections.abc import Callable, Mapping
from functools import partial

from schemas.errors import StateError
from triton_models.bundle import Spec
from triton_models.networks.ablations import Elu, Lsh, Softmax, Undecayed
from triton_models.networks.correction import Correction, Network
from triton_models.networks.lstm import Lstm
from triton_models.networks.performer import Performer

__all__ = ["ABLATIONS", "NO_BASE", "Correction", "Lstm", "Network", "Performer", "build"]

NO_BASE = "performer-no-residual"
"""The Performer that has to forecast by itself: its base is the training side's mean level."""
_FREE = 12.0
"""How far it may move a level, in log variance: no bound in practice."""

_BUILDERS: Mapping[str, Callable[[Spec], Network]] = {
    "performer": Performer,
    "lstm": Lstm,
    "performer-softmax": partial(Performer, attention=Softmax),
    "performer-elu": partial(Performer, attention=Elu),
    "performer-lsh": partial(Performer, attention=Lsh),
    "performer-no-decay": partial(Performer, attention=Undecayed),
    NO_BASE: partial(Performer, bound=_FREE),
}
ABLATIONS = tuple(name for name in _BUILDERS if name.startswith("performer-"))
"""Networks of the Performer's size that tell what its parts are worth; evaluated, never served."""


def build(spec: Spec) -> Network:
    """Return the untrained network that `spec` describes: its forecast is log-HAR.

    Raises:
        StateError: where there is no network of that kind.
    """
    if spec.kind not in _BUILDERS:
        raise StateError(f"expected a network among {', '.join(_BUILDERS)}, got {spec.kind!r}")
    return _BUILDERS[spec.kind](spec)
