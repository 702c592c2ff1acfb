"""One bundle, loaded to answer: the code behind every Triton model, and what `rebuild` compares with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from schemas.errors import InferenceError
from schemas.tensors import MINIMUM_BATCH
from triton_models.bundle import Bundle, read
from triton_models.networks import Correction, Network, build


class Batch(NamedTuple):
    """Inputs of a model; `schemas.tensors` has their meaning."""

    features: torch.Tensor
    """(B, T, F) float32"""
    mask: torch.Tensor
    """(B, T, F) float32"""
    age: torch.Tensor
    """(B, T, M) float32"""
    origin_time_ns: torch.Tensor
    """(B, 1) int64"""


class Predictor:
    """A network on one device; the bits of a row do not depend on the rows beside it.

    The network runs on blocks of exactly MINIMUM_BATCH rows, the last one filled up with empty rows:
    with batches of 17 or 33 rows other vector kernels take the odd rows, and last bits differ.
    Use one thread (`torch.set_num_threads(1)`) where bits must be those of another process.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        self.bundle = bundle
        self.device = torch.device(device)
        self.network = _load(bundle).to(self.device)

    @classmethod
    def load(cls, directory: Path, device: str = "cpu") -> "Predictor":
        """Read a bundle, check it and load its network."""
        return cls(read(directory), device)

    def ask(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
        """Return what Triton answers to these inputs, bit for bit; PyTorch is left with one thread, as there.

        Raises InferenceError for other shapes than the model reads.
        """
        torch.set_num_threads(1)
        batch = Batch(*(torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in Batch._fields))
        self.check(batch)
        return self.predict(batch)

    def check(self, batch: Batch) -> None:
        """Raise InferenceError where a batch has other shapes than the model reads."""
        spec, rows = self.bundle.spec, len(batch.features)
        t, f, m = spec.shape("T"), spec.shape("F"), spec.shape("M")
        wanted = ((rows, t, f), (rows, t, f), (rows, t, m), (rows, 1))
        for name, tensor, shape in zip(Batch._fields, batch, wanted, strict=True):
            if tuple(tensor.shape) != shape:
                raise InferenceError(f"{spec.name}: expected {name} of shape {shape}, got {tuple(tensor.shape)}")

    def predict(self, batch: Batch) -> dict[str, npt.NDArray[np.float32]]:
        """Return the outputs by name: mean (B, H), quantiles (B, H, Q), a Performer's attention (B, A, T, M).

        Rows whose shortest realised variance is masked are NaN.
        """
        rows = len(batch.features)
        features, mask, _, origin = (tensor.cpu().numpy() for tensor in batch)
        padded = _padded(batch, -(-max(rows, 1) // MINIMUM_BATCH) * MINIMUM_BATCH)
        blocks = [
            self._block(Batch(*parts))
            for parts in zip(*(torch.split(tensor, MINIMUM_BATCH) for tensor in padded), strict=True)
        ]
        moves = {name: np.concatenate([block[name] for block in blocks])[:rows] for name in blocks[0]}
        correction = (moves.pop(name).astype(np.float64) for name in Correction._fields)
        mean, quantiles = self.bundle.har_forecast(features, mask, origin).correct(*correction).levels()
        return {"mean": mean.astype(np.float32), "quantiles": quantiles.astype(np.float32), **moves}

    def _block(self, batch: Batch) -> dict[str, npt.NDArray[np.float32]]:
        """Return the network's correction by name, and its attention if it has one, of exactly MINIMUM_BATCH rows."""
        with torch.inference_mode():
            correction, attention = self.network(*(tensor.to(self.device) for tensor in batch[:3]))
        found = correction._asdict() | ({} if attention is None else {"attention": attention})
        return {name: tensor.cpu().numpy() for name, tensor in found.items()}


def _load(bundle: Bundle) -> Network:
    """Build the network of a bundle and give it its weights."""
    network = build(bundle.spec)
    try:
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in bundle.weights.items()})
    except RuntimeError as error:
        raise InferenceError(f"{bundle.spec.name}: weights do not fit the network: {error}") from error
    return network.eval().requires_grad_(requires_grad=False)


def _padded(batch: Batch, rows: int) -> Batch:
    """Return the batch with empty rows behind it, on the CPU."""
    missing = rows - len(batch.features)
    parts = []
    for tensor, fill in zip(batch, (0.0, 0.0, -1.0, 0), strict=True):
        blank = torch.full((missing, *tensor.shape[1:]), fill, dtype=tensor.dtype)
        parts.append(torch.cat([tensor.cpu(), blank]).contiguous())
    return Batch(*parts)
