"""Loaded by tritonserver; the bundle beside this file says what it is."""

from triton_models.serve import TritonPythonModel

__all__ = ["TritonPythonModel"]
