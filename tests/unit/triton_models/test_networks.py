import numpy as np
import pytest
import torch

from triton_models.bundle import write
from triton_models.har import forecast
from triton_models.networks import build
from triton_models.predictor import Predictor

ROWS = np.arange(400, 1000)


def test_an_untrained_network_is_log_har_bit_for_bit(spec, tmp_path, make_batch, table):
    torch.manual_seed(0)
    bundle = write(tmp_path, spec, {name: value.numpy() for name, value in build(spec).state_dict().items()})
    batch = make_batch(ROWS)
    outputs = Predictor(bundle).predict(batch)
    columns = {name: values[ROWS] for name, values in table.columns(spec.har.reads.features).items()}
    mean, quantiles = forecast(spec.har, columns, table.row_time_ns[ROWS]).levels()
    assert (outputs["mean"] == mean.astype(np.float32)).all()
    assert (outputs["quantiles"] == quantiles.astype(np.float32)).all()


@pytest.mark.parametrize("size", [1, 2, 7, 15, 16, 17, 31, 33, 64, 257])
@pytest.mark.parametrize("start", [0, 1, 11])
def test_bits_of_a_row_depend_on_nothing_else_in_the_batch(predictor, make_batch, size, start):
    whole = predictor.predict(make_batch(ROWS))
    part = predictor.predict(make_batch(ROWS[start : start + size]))
    for name, values in part.items():
        assert values.tobytes() == whole[name][start : start + size].tobytes(), name


def test_quantiles_never_cross(predictor, make_batch):
    batch = make_batch(ROWS)
    wild = torch.randn(batch.features.shape, generator=torch.Generator().manual_seed(5)).abs() * 1e6
    for features in (batch.features, torch.where(torch.rand(wild.shape) < 0.5, wild, 0.0)):
        outputs = predictor.predict(batch._replace(features=features))
        assert (np.diff(outputs["quantiles"], axis=-1) > 0).all()
        assert np.isfinite(outputs["mean"]).all()


def test_attention_is_a_distribution_over_what_is_there(predictor, make_batch):
    batch = make_batch(ROWS[:20])
    batch.mask[:, 3, :] = 0  # a row interval without a row
    outputs = predictor.predict(batch)
    if predictor.bundle.spec.kind == "lstm":
        assert "attention" not in outputs
        return
    attention = outputs["attention"]
    assert attention.shape == (20, 4, 8, 2)
    assert np.abs(attention.sum((-2, -1)) - 1).max() < 1e-5
    assert (attention[:, :, 3] == 0).all()
    assert (attention >= 0).all()


def test_values_behind_the_mask_are_not_read(predictor, make_batch):
    batch = make_batch(ROWS[:20])
    batch.mask[:, 2, 3] = 0
    before = predictor.predict(batch)
    batch.features[:, 2, 3] = float("nan")
    after = predictor.predict(batch)
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


def test_without_the_shortest_variance_the_row_is_nan_and_no_other(predictor, make_batch):
    batch = make_batch(ROWS[:20])
    whole = predictor.predict(batch)
    batch.mask[4, -1, 0] = 0
    outputs = predictor.predict(batch)
    assert np.isnan(outputs["mean"][4]).all()
    assert np.isnan(outputs["quantiles"][4]).all()
    others = np.arange(20) != 4
    assert outputs["mean"][others].tobytes() == whole["mean"][others].tobytes()


def test_a_wrong_shape_is_told(predictor, make_batch):
    batch = make_batch(ROWS[:4])
    with pytest.raises(Exception, match=r"expected age of shape \(4, 8, 2\), got \(4, 8, 1\)"):
        predictor.check(batch._replace(age=batch.age[..., :1]))
