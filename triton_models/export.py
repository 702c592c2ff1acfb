"""What tritonserver reads: `repository/<model>/config.pbtxt` and `<version>/` with a bundle in it."""

import compileall
from pathlib import Path

from schemas.errors import DecodeError, StateError
from schemas.tensors import ATTENTION_OUTPUT, INPUTS, OUTPUTS, Tensor
from triton_models.bundle import Bundle, Spec, Weights, read, write

REPOSITORY = Path(__file__).parent / "repository"
MAXIMUM_BATCH = 1024
"""Rows that one request may carry: infer catching up sends many row intervals at once."""

_MODEL = '''"""Loaded by tritonserver; the bundle beside this file says what it is."""

from triton_models.serve import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def render_config(spec: Spec, *, kind: str = "KIND_CPU") -> str:
    """Return the `config.pbtxt` of a model."""
    outputs = (*OUTPUTS, ATTENTION_OUTPUT) if spec.kind == "performer" else OUTPUTS
    parts = [
        f'name: "{spec.name}"',
        'backend: "python"',
        f"max_batch_size: {MAXIMUM_BATCH}",
        *(_tensor("input", tensor, spec) for tensor in INPUTS),
        *(_tensor("output", tensor, spec) for tensor in outputs),
        f"instance_group [ {{ count: 1 kind: {kind} }} ]",
        "dynamic_batching { }",
        # Which version makes forecasts is decided on a topic: Triton serves all that lie here.
        "version_policy { all { } }",
    ]
    return "\n".join(parts) + "\n"


def publish(spec: Spec, weights: Weights, repository: Path = REPOSITORY) -> Bundle:
    """Write one version of a model and the model's configuration.

    Raises StateError where another version has other tensors: Triton has one configuration for all.
    """
    model, config = repository / spec.name, render_config(spec)
    others = [path for path in versions(model) if path.name != spec.version]
    for other in others:
        if render_config(read(other).spec) != config:
            text = f"{other} has other tensors than version {spec.version}, and Triton serves all versions as one model"
            raise StateError(f"{text}; give another folder, or remove the versions that are not used any more")
    bundle = write(model / spec.version, spec, weights)
    program = model / spec.version / "model.py"
    program.write_text(_MODEL)
    # Bytecode that Triton wrote while it loads a version would be a change of that version to it.
    compileall.compile_file(program, quiet=2)
    written = model / "config.pbtxt"
    # Triton loads all versions anew where this file is newer than they are.
    if not written.is_file() or written.read_text() != config:
        written.write_text(config)
    return bundle


def read_published(version: Path) -> Bundle:
    """Read the bundle of a version folder; raises StateError, which says what to do, for a damaged one."""
    try:
        return read(version)
    except DecodeError as error:
        raise StateError(f"{error}; restore the bundle or train it anew with `foreshock train`") from None


def versions(model: Path) -> list[Path]:
    """Return the version folders of a model, newest first; none where there is no model."""
    if not model.is_dir():
        return []
    return sorted((path for path in model.iterdir() if path.name.isdigit()), key=lambda path: -int(path.name))


def _tensor(role: str, tensor: Tensor, spec: Spec) -> str:
    dims = ", ".join(str(spec.shape(axis)) for axis in tensor.axes)
    return f'{role} [ {{ name: "{tensor.name}" data_type: {tensor.dtype} dims: [ {dims} ] }} ]'
