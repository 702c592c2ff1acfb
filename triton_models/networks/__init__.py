"""Networks, one file each; all take (features, mask, age) and correct a log-HAR forecast."""

from triton_models.bundle import Spec
from triton_models.networks.correction import Correction, Network
from triton_models.networks.lstm import Lstm
from triton_models.networks.performer import Performer

__all__ = ["Correction", "Lstm", "Network", "Performer", "build"]


def build(spec: Spec) -> Network:
    """Return the untrained network that `spec` describes: its forecast is log-HAR."""
    return Performer(spec) if spec.kind == "performer" else Lstm(spec)
