"""Who is evaluated: baselines, and networks on what the reference leaves."""

from collections.abc import Sequence

import msgspec

from schemas.errors import SettingsError
from schemas.rules import DAY_NS
from triton_models.baselines.all import experts
from triton_models.baselines.corrected import Corrected
from triton_models.baselines.har import reference_level
from triton_models.evaluation.folds import Folds
from triton_models.evaluation.networks import DEFAULT_WALK, Bases, NetworkExpert, Told, base_of
from triton_models.evaluation.panel import Expert, Forecasts, Panel
from triton_models.evaluation.summary import NETWORKS, REFERENCE
from triton_models.networks import ABLATIONS

SEEDS = len(DEFAULT_WALK.seeds)
ONE_SEED = "performer-one-seed"
"""What ablations, which have one seed each, are to be compared with."""
LEAST_BEFORE_NS = 75 * DAY_NS
"""Two months for the reference to be worth correcting, and two weeks of its forecasts to learn from."""


class Reference:
    """The base of all networks: made once for a panel and its folds."""

    def __init__(self) -> None:
        self._key: object = None
        self._found: Bases = {}

    def of(self, panel: Panel, folds: Folds) -> Bases:
        """Return the reference's forecasts by horizon, of the folds and of the time before them.

        Raises:
            SettingsError: where the rows before the folds are too few for networks.
        """
        first_ns = int(panel.row_time_ns.min())
        if folds.from_ns < first_ns + LEAST_BEFORE_NS:
            raise SettingsError(
                f"networks need {LEAST_BEFORE_NS // DAY_NS} days of bars before the warm-up, "
                f"got {(folds.from_ns - first_ns) // DAY_NS}; give a later --train-until, or --seeds 0"
            )
        key = (panel.data_hash(), tuple(folds))
        if key != self._key:
            self._found = base_of(Corrected(REFERENCE, reference_level), panel, folds)
            self._key = key
        return self._found


class OnReference:
    """A network on the reference, which is fitted when the first forecast is asked for."""

    def __init__(self, name: str, reference: Reference, seeds: int, told: Told, *, kind: str = "") -> None:
        """Take a name, and the network's kind where that is another."""
        self.name = name
        self._told = told
        self._kind = kind or name
        self._reference = reference
        self._walk = msgspec.structs.replace(DEFAULT_WALK, seeds=tuple(range(seeds)))
        self._expert: tuple[object, NetworkExpert] | None = None

    def forecasts(self, panel: Panel, folds: Folds, horizon: str) -> Forecasts:
        """Forecast the rows of all folds."""
        base = self._reference.of(panel, folds)
        if self._expert is None or self._expert[0] is not base:
            self._expert = base, NetworkExpert(self._kind, base, walk=self._walk, told=self._told)
        return self._expert[1].forecasts(panel, folds, horizon)


def choose(
    names: Sequence[str] = (),
    *,
    seeds: int = SEEDS,
    ablations: bool = False,
    told: Told = lambda _text: None,
) -> tuple[Expert, ...]:
    """Return the experts with these names, all where none is named; no networks where there are no seeds.

    Ablations are evaluated where they are named or asked for.

    Raises:
        SettingsError: where there is no such expert.
    """
    reference = Reference()
    found: dict[str, Expert] = {expert.name: expert for expert in experts()}
    if seeds:
        found |= {name: OnReference(name, reference, seeds, told) for name in NETWORKS}
    more: dict[str, Expert] = {name: OnReference(name, reference, 1, told) for name in ABLATIONS}
    more[ONE_SEED] = OnReference(ONE_SEED, reference, 1, told, kind="performer")
    unknown = [name for name in names if name not in found | more]
    if unknown:
        raise SettingsError(f"--models: no model {', '.join(unknown)}; there are {', '.join(found | more)}")
    chosen = [*(names or found), *(more if ablations else ())]
    return tuple((found | more)[name] for name in dict.fromkeys(chosen))
