"""Which answers of Triton are used, and what is said of errors."""

import numpy as np
import pytest

from streams.triton_answers import plain, problem_of

OUTPUTS = {"mean": (2,), "quantiles": (2, 7)}


def answer(**other):
    return {"mean": np.ones((3, 2), np.float32), "quantiles": np.ones((3, 2, 7), np.float32)} | other


def test_an_answer_with_one_row_that_is_finite_is_used():
    mean = np.array([[np.nan, 1], [np.inf, 1], [1, 1]], np.float32)
    assert problem_of(OUTPUTS, answer(mean=mean), 3) == ""


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"mean": None}, "expected an output mean, got none"),
        ({"mean": np.ones((2, 2), np.float32)}, "expected mean of shape (3, 2), got (2, 2)"),
        ({"mean": np.full((3, 2), b"1", object)}, "expected mean of floats, got object"),
        ({"quantiles": np.full((3, 2, 7), np.nan, np.float32)}, "no row of the answer is finite"),
    ],
)
def test_an_answer_that_cannot_be_used_says_why(other, problem):
    assert problem_of(OUTPUTS, answer(**other), 3) == problem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[StatusCode.DEADLINE_EXCEEDED] Deadline Exceeded", "no answer within the deadline"),
        ("[StatusCode.UNAVAILABLE] failed to connect to ipv4:127.0.0.1:8001", "Triton is not there"),
        ("Stub process is not healthy.\nTraceback", "Stub process is not healthy."),
        ("", "no reason given"),
    ],
)
def test_an_error_is_one_line_without_ports(text, told):
    assert plain(Exception(text)) == told
