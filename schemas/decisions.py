"""Records of what becomes of models: what was decided of their versions, and what has drifted."""

from typing import Literal

import msgspec

from schemas.calibration import Share

Loss = Literal["qlike", "pinball"]
DecisionKind = Literal["shadow", "promote", "refuse", "rollback", "withdraw"]
DriftKind = Literal["skill", "coverage", "inputs"]


class SkillTest(msgspec.Struct, frozen=True, kw_only=True):
    """A challenger's loss less the active version's, at one horizon: below 0 the challenger is better.

    `difference` is the mean over origins, `statistic` that mean over its standard error, `p_better`
    and `p_worse` the one-sided p-values. A horizon of fewer than `needed` origins is not tested.
    """

    horizon: str
    loss: Loss
    origins: int
    needed: int
    difference: float | None = None
    statistic: float | None = None
    p_better: Share | None = None
    p_worse: Share | None = None


class ModelDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of a version of a profile's networks; it holds for origins from `border_ns` on.

    shadow: `version` is asked and scored beside the active one; withdraw: no longer. promote:
    `version` makes the forecasts instead of `before`; refuse: it was asked for, and is not promoted.
    rollback: the version before the active one makes them again. `hashes`: those of the bundles of
    `version`, by model. `tests` is what a promotion was decided by, `test` its name; better is a
    p-value below `better_level`, worse one below `worse_level`.
    """

    kind: DecisionKind
    profile: str
    version: str
    before: str
    border_ns: int
    hashes: dict[str, str]
    reason: str
    forced: bool = False
    test: str = ""
    better_level: Share = 0.0
    worse_level: Share = 0.0
    tests: list[SkillTest] = []


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm: something left for good what it was, over all instruments of a partition.

    skill: QLIKE of the combination less log-HAR's has risen; coverage: the share of outcomes inside
    the 90 % band less 0.9 has risen or fallen; inputs: the share of values that networks cut off, for
    they lie beyond what was seen in training, has risen (`horizon` is ""). `value` is the mean of the
    block that ended at `as_of_ns`, `reference` what it was or should be; `statistic` exceeded
    `threshold`, which gives one false alarm in `false_alarm_days`.
    """

    kind: DriftKind
    partition: int
    horizon: str
    as_of_ns: int
    rises: bool
    value: float
    reference: float
    statistic: float
    threshold: float
    false_alarm_days: float
