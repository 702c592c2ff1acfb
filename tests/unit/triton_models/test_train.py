import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import StateError
from schemas.tensors import HORIZONS as HORIZONS_OF
from triton_models.bundle import SPEC_FILE, WEIGHTS_FILE, Size
from triton_models.dataset import NEVER, from_arrow, windows_of
from triton_models.material import Material, Options
from triton_models.pinned import DEFAULTS, Pinned, pin
from triton_models.terms import BASES
from triton_models.train import train, train_models

QUICK = Options(intervals=8, size=Size(width=16, heads=2), epochs=2, examples=2048, batch=128, validation_examples=512)


@pytest.fixture
def learn(table, tmp_path):
    def run(kind, folder, options=QUICK):
        return train(
            table,
            profile="bars",
            kind=kind,
            repository=tmp_path / folder,
            options=options,
        )

    return run


@pytest.mark.parametrize("kind", ["performer", "lstm"])
def test_the_same_seed_gives_the_same_bytes_and_another_another(learn, kind, tmp_path):
    first, again = learn(kind, "a"), learn(kind, "b")
    assert first.hash == again.hash
    for name in (SPEC_FILE, WEIGHTS_FILE):
        paths = [tmp_path / folder / f"{kind}-bars" / "1" / name for folder in "ab"]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_it_learns_what_log_har_cannot_know(learn):
    # Volume tells tomorrow's volatility better than the noisy variance of one bar does.
    bundle = learn("lstm", "a", Options(intervals=8, epochs=3, examples=8192, validation_examples=1024))
    history = bundle.spec.manifest["history"]
    assert min(history) < history[0]
    hour = bundle.spec.manifest["validation"]["5m"]
    assert hour["qlike"] < hour["har_qlike"]


def test_training_sees_nothing_that_ends_behind_the_split(table):
    # train ............ split ---- validation
    #            t |----h----|      a target that ends behind the split is not known to training
    material = Material(table, "bars", QUICK)
    for index, horizon_ns in enumerate((300, 3600, 86_400)):
        known = np.isfinite(material.seen[:, index])
        assert table.row_time_ns[known].max() <= material.split_ns - horizon_ns * 10**9
    assert table.row_time_ns[material.training].max() < material.split_ns
    assert table.row_time_ns[material.validation].min() > material.split_ns


def test_windows_lie_on_the_grid_of_row_intervals(table):
    rows = np.array([0, 2, 3000, 3500])  # 0 and 3000 are first rows of an instrument
    features, mask, age = table.windows(rows, 4)
    assert features.shape == (4, 4, 5)
    assert not mask[[0, 2], :3].any()
    assert (age[[0, 2], :3] == NEVER).all()
    assert np.array_equal(features[1, 1:, 0], table.values[:3, 0])
    assert np.array_equal(features[3, :, 0], table.values[3497:3501, 0])


def test_the_target_is_the_variance_that_followed(table):
    ahead = table.ahead("1h")
    assert np.array_equal(ahead[100:200], table.column("bar_realised_variance_1h")[112:212])
    assert np.isnan(ahead[2988:3000]).all()  # the next row is of another instrument


def test_rows_are_read_from_arrow(table):
    pinned = Pinned.of(["realised_variance_5m", "hour"], ["bar", "clock"])
    rows = pa.table(
        {
            "instrument_id": ["b", "a", "a"],
            "row_time_ns": pa.array([600, 900, 300], pa.int64()),
            "realised_variance_5m": [1.0, None, 2.0],
            "hour": [0.0, 1.0, 2.0],
            "age_bar": [0.5, None, 3.0],
        }
    )
    table = from_arrow(rows, pinned, row_interval_ns=300)
    assert table.instruments == ("a", "b")
    assert table.row_time_ns.tolist() == [300, 900, 600]
    assert np.array_equal(table.values[:, 0], [2.0, np.nan, 1.0], equal_nan=True)
    assert table.ages.tolist() == [[3.0, 0.0], [NEVER, 0.0], [0.5, 0.0]]


def test_rows_without_a_pinned_feature_are_an_error():
    rows = pa.table({"instrument_id": ["a"], "row_time_ns": [0]})
    with pytest.raises(StateError, match="rows lack the columns spread"):
        from_arrow(rows, Pinned.of(["spread"], ["quote"]), row_interval_ns=1)


def test_models_are_trained_from_a_file_of_rows(table, tmp_path):
    columns = {f"bar_realised_variance_{window}": table.values[:, i] for i, window in enumerate(("5m", "1h", "1d"))}
    rows = {"instrument_id": np.take(table.instruments, table.instrument), "row_time_ns": table.row_time_ns, **columns}
    pq.write_table(pa.table({**rows, "age_bar": table.ages[:, 0]}), tmp_path / "rows.parquet")
    said = []
    (bundle,) = train_models(
        tmp_path / "rows.parquet",
        profile="bars",
        kinds=("lstm",),
        features=list(columns),
        repository=tmp_path,
        options=QUICK,
        progress=lambda text, ratio: said.append((text, ratio)),
    )
    assert bundle.spec.features == tuple(columns)
    assert said[0] == ("fitting log-HAR", 0.0)
    assert said[-1] == ("lstm: epoch 2 of 2", 1.0)


def test_a_network_reads_what_it_may_and_corrects_where_it_is_trusted(learn):
    read = ("bar_realised_variance_5m", "volume")
    options = msgspec.structs.replace(QUICK, read=read, trusted=("5m", "1h"), gate_penalty=1e-9, validation_ratio=0.0)
    bundle = learn("lstm", "a", options)
    spec = bundle.spec
    assert set(spec.features) - set(spec.manifest["pruned"]) == set(read)
    assert spec.manifest["left_to_log_har"] == ["1d"]
    assert spec.manifest["split_ns"] == spec.manifest["last_row_time_ns"]
    weights = bundle.weights["head.out.weight"].reshape(3, 8, -1)
    assert [bool(np.any(each)) for each in weights] == [True, True, False]


@pytest.mark.parametrize("profile", ["ticks", "bars"])
def test_the_default_features_are_in_the_catalogue_with_all_targets(profile):
    pinned = pin(profile)
    assert (
        set(pinned.modalities)
        == {
            "ticks": {"trade", "quote", "flow", "score", "clock"},
            "bars": {"bar", "clock"},
        }[profile]
    )
    assert set(DEFAULTS[profile]) | set(BASES[profile].features) <= set(pinned.features)
    windows = {name.rpartition("_")[2] for name in windows_of(pinned.features)}
    assert windows >= set(HORIZONS_OF[profile])
    assert (
        pin(profile, pinned.features).feature_set_id
        == pinned.feature_set_id
        != pin(profile, ["hour_sine"]).feature_set_id
    )
