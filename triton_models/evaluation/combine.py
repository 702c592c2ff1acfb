"""The online combination and calibration of a walk, as they would have run live: outcomes come a horizon late."""

from collections.abc import Sequence

import numpy as np

from schemas.tensors import HORIZON_NS
from triton_models.baselines.recursive import NAME as RECURSIVE
from triton_models.evaluation.definitions import ORIGIN_STEP_NS
from triton_models.evaluation.panel import Forecasts
from triton_models.evaluation.summary import NETWORKS, REFERENCE
from triton_models.evaluation.walk import MEAN_OF, Walked
from triton_models.har import Floats
from triton_models.online.conformal import Rates
from triton_models.online.experts import NEARLY, Learning
from triton_models.online.panel import calibrate, combine

COMBINED, WITHOUT, LIVE = "combined", "combined-without-networks", "combined-live"
SERVED = (REFERENCE, "ewma")
"""Experts that infer has beside the networks: it serves no LightGBM and no second log-HAR."""
MEMBERS = (*MEAN_OF, RECURSIVE)
"""Experts that are combined, besides the networks: chosen on bars before 2024-03, as those of the equal-weight mean."""


def with_combinations(walked: Walked, regime: Floats | None) -> Walked:
    """Return the walk with the combinations of its experts; `regime` (T, I) is 0 for calm, 1 for wild."""
    members = [name for name in MEMBERS if name in walked.forecasts]
    networks = [name for name in NETWORKS if name in walked.forecasts and _differs(walked, name)]
    found = dict(walked.forecasts)
    if len(members) > 1:
        found[WITHOUT] = combined(walked, members, regime)
    if any(name in walked.forecasts for name in NETWORKS) and members:
        found[COMBINED] = combined(walked, [*members, *networks], regime)
    served = [name for name in (*SERVED, *networks) if name in walked.forecasts]
    if REFERENCE in served and len(served) > 1:
        found[LIVE] = combined(walked, served, regime)
    return walked._replace(forecasts=found)


def _differs(walked: Walked, network: str) -> bool:
    """Return whether a network says anything of its own at this horizon."""
    if REFERENCE not in walked.forecasts:
        return True
    ratio = walked.forecasts[network].mean / walked.forecasts[REFERENCE].mean
    return bool((np.abs(ratio[np.isfinite(ratio)] - 1) > NEARLY).any())


def combined(walked: Walked, members: Sequence[str], regime: Floats | None) -> Forecasts:
    """Return the weighted mean of experts with calibrated quantiles, in levels."""
    times, horizon_ns, step_ns = walked.grid.origin_time_ns, HORIZON_NS[walked.horizon], ORIGIN_STEP_NS[walked.horizon]
    y = np.log(walked.realised)
    means = np.log(np.stack([walked.forecasts[name].mean for name in members], axis=-1))
    quantiles = np.log(np.stack([walked.forecasts[name].quantiles for name in members], axis=-2))
    mixture = combine(times, horizon_ns, means, quantiles, y, Learning.of(horizon_ns, step_ns)).mixture
    state = np.full(y.shape, -1) if regime is None else np.where(np.isfinite(regime), regime, -1).astype(np.int64)
    corrected = calibrate(times, horizon_ns, mixture.quantiles, state, y, Rates.of(walked.horizon, step_ns))
    return Forecasts(_single(np.exp(mixture.mean)), _single(np.exp(corrected.quantiles)))


def _single(values: Floats) -> Floats:
    return values.astype(np.float32).astype(np.float64)
