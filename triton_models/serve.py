"""The Triton Python model of all networks; each repository version folder re-exports it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from schemas.errors import ForeshockError, InferenceError
from triton_models.predictor import Batch, Predictor


class TritonPythonModel:
    """Answers requests of one model version from the bundle beside its `model.py`."""

    predictor: Predictor

    def initialize(self, args: dict[str, str]) -> None:
        """Load the bundle, on the device that Triton gave this instance."""
        torch.set_num_threads(1)
        device = f"cuda:{args['model_instance_device_id']}" if args["model_instance_kind"] == "GPU" else "cpu"
        self.predictor = Predictor.load(Path(args["model_repository"]) / args["model_version"], device)
        self.outputs = [one["name"] for one in json.loads(args["model_config"])["output"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer all requests with one pass of the network; a wrong one fails alone."""
        read = [self._read(request) for request in requests]
        good = [batch for batch in read if isinstance(batch, Batch)]
        answers = iter(self._answers(good)) if good else iter(())
        return [next(answers) if isinstance(batch, Batch) else _failure(batch) for batch in read]

    def _read(self, request: Any) -> Batch | InferenceError:
        import triton_python_backend_utils as backend

        tensors = (backend.get_input_tensor_by_name(request, name) for name in Batch._fields)
        batch = Batch(
            *(
                torch.from_dlpack(tensor.to_dlpack())  # type: ignore[attr-defined]
                for tensor in tensors
            )
        )
        try:
            self.predictor.check(batch)
        except InferenceError as error:
            return error
        return batch

    def _answers(self, batches: Sequence[Batch]) -> list[Any]:
        import triton_python_backend_utils as backend

        merged = Batch(*(torch.cat(tensors) for tensors in zip(*batches, strict=True)))
        try:
            outputs = self.predictor.predict(merged)
        except (ForeshockError, RuntimeError) as error:
            return [_failure(error) for _ in batches]
        answers, start = [], 0
        for batch in batches:
            end = start + len(batch.features)
            parts = (torch.from_numpy(outputs[name][start:end].copy()) for name in self.outputs)
            tensors = [
                backend.Tensor.from_dlpack(name, part.__dlpack__())
                for name, part in zip(self.outputs, parts, strict=True)
            ]
            answers.append(backend.InferenceResponse(output_tensors=tensors))
            start = end
        return answers


def _failure(error: Exception) -> Any:
    import triton_python_backend_utils as backend

    return backend.InferenceResponse(error=backend.TritonError(str(error)))
