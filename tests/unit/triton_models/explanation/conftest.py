"""A network with three modalities and random weights, one forecast of it, and the two references."""

import msgspec
import numpy as np
import pytest

from triton_models.bundle import write
from triton_models.explanation.coalitions import Tensors, absent
from triton_models.explanation.game import Game, whole
from triton_models.predictor import Predictor

ORIGIN = 1_710_000_000_000_000_000


@pytest.fixture
def predictor(spec, random_weights, tmp_path):
    three = msgspec.structs.replace(spec, modalities=("bar", "clock", "trade"), modality_of=(0, 0, 0, 2, 1))
    return Predictor(write(tmp_path, three, random_weights(three)))


@pytest.fixture
def tensors(table):
    def at(row):
        features, mask, _ = (part[0] for part in table.windows(np.array([row]), 8))
        age = np.tile(np.float32([1.0, 0.0, 40.0 + row % 7]), (8, 1))
        return Tensors(features, mask, age)

    return at


@pytest.fixture(params=["absent", "before"])
def game(request, predictor, tensors):
    seen = tensors(1500)
    spec = predictor.bundle.spec
    reference = absent(spec, seen) if request.param == "absent" else tensors(1440)
    return Game(spec, whole(predictor, ORIGIN), seen, reference)
