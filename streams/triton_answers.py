"""What Triton serves and what came of a request: is the answer usable, and what does an error say in one line?"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
Answer = dict[str, npt.NDArray[Any]]


class Served(NamedTuple):
    """A model as Triton serves it: what a request for it needs and what an answer must hold."""

    name: str
    version: str
    outputs: Mapping[str, tuple[int, ...]]
    """Name of each output to its shape behind the batch axis."""
    canary: Arrays
    """Inputs to which a healthy model gives a finite answer."""


def read_answer(outputs: Mapping[str, tuple[int, ...]], result: Any, rows: int) -> tuple[Answer, str]:
    """Return the outputs of a result of the client library, and what makes them unusable, or nothing."""
    try:
        answer: Answer = {name: result.as_numpy(name) for name in outputs}
    except (ValueError, TypeError) as error:  # the bytes are not those of the shape that came with them
        return {}, f"the answer cannot be read: {error}"
    return answer, problem_of(outputs, answer, rows)


def problem_of(outputs: Mapping[str, tuple[int, ...]], answer: Mapping[str, npt.NDArray[Any] | None], rows: int) -> str:
    """Return what makes an answer unusable as a whole, or nothing; `outputs`: shapes behind the batch axis."""
    finite = np.ones(rows, bool)
    for name, tail in outputs.items():
        array = answer[name]
        if array is None:
            return f"expected an output {name}, got none"
        if array.shape != (rows, *tail):
            return f"expected {name} of shape {(rows, *tail)}, got {array.shape}"
        if array.dtype.kind != "f":
            return f"expected {name} of floats, got {array.dtype}"
        finite &= np.isfinite(array).reshape(rows, -1).all(axis=-1)
    return "" if finite.any() else "no row of the answer is finite"


def plain(error: Exception) -> str:
    """Return what went wrong in one short line; the reason of a fallback must not name ports."""
    text = str(error)
    if "DEADLINE_EXCEEDED" in text:
        return "no answer within the deadline"
    if "StatusCode.UNAVAILABLE" in text and "onnect" in text:
        return "Triton is not there"
    return text.strip().partition("\n")[0] or "no reason given"
