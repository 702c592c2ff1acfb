"""The models behind forecasts, found by the hashes in their records, each loaded once."""

from collections.abc import Mapping
from pathlib import Path

from schemas.errors import StateError
from schemas.forecasts import Forecast
from streams.infer.batch import Answers
from streams.infer.models import NETWORKS, PERSISTENCE, Models, Network, beside, persistence, read_models
from streams.triton_client import Arrays
from triton_models.export import versions
from triton_models.predictor import Predictor

_SHOWN = 12


class Library:
    """All versions of a profile's networks in a repository."""

    def __init__(self, profile: str, repository: Path, row_interval_ns: int) -> None:
        """Read every version; one that is damaged is an error only for the forecasts that it made."""
        self._profile, self._repository = profile, repository
        self._versions = [persistence(profile, row_interval_ns)]
        self._problems: list[str] = []
        for version in self._names():
            try:
                found = read_models(profile, repository, version=version, row_interval_ns=row_interval_ns)
            except StateError as error:
                self._problems.append(str(error))
            else:
                self._versions += [found] if found.har_hash != PERSISTENCE else []
        self._found: dict[tuple[str, ...], Models] = {}
        self._predictors: dict[str, Predictor] = {}

    def _names(self) -> list[str]:
        folders = (self._repository / f"{expert}-{self._profile}" for expert in NETWORKS)
        return sorted({version.name for folder in folders for version in versions(folder)}, key=int)

    def models(self, forecast: Forecast) -> Models:
        """Return the models that made a forecast, with those in shadow beside; raises StateError where one is gone."""
        made = _hashes(forecast)
        key = tuple(f"{name}={digest}" for name, digest in made.items())
        if key not in self._found:
            self._found[key] = self._models(forecast, made)
        return self._found[key]

    def _models(self, forecast: Forecast, made: Mapping[str, str]) -> Models:
        active = {name: digest for name, digest in made.items() if "@" not in name}
        shadow = {name.partition("@")[0]: digest for name, digest in made.items() if "@" in name}
        models = self._with(forecast, active)
        if not shadow:
            return models
        return beside(models, self._with(forecast, shadow))

    def _with(self, forecast: Forecast, wanted: Mapping[str, str]) -> Models:
        """Return the version whose networks have these hashes; those that are not named may be any."""
        for models in self._versions:
            if wanted.items() <= _named(models).items():
                return models
        known = {digest for models in self._versions for digest in _named(models).values()}
        gone = next((name for name, digest in wanted.items() if digest not in known), next(iter(wanted)))
        there = ", ".join(f"{one.version}: {_named(one).get(gone, '-')[:_SHOWN]}" for one in self._versions[1:])
        raise StateError(
            f"{forecast.id}: {gone} {wanted[gone][:_SHOWN]} made it, which is not in {self._repository} "
            f"(versions {there or 'none'}{''.join(f'; {each}' for each in self._problems)}); put the folder of "
            "that version back, or set FORESHOCK_MODEL_REPOSITORY to where it is"
        )

    def answers(self, models: Models, arrays: Arrays) -> Answers:
        """Return what the networks answer to a request, in the order in which infer asks them."""
        return {network.expert: self._predictor(network).ask(arrays) for network in models.networks}

    def _predictor(self, network: Network) -> Predictor:
        if network.hash not in self._predictors:
            self._predictors[network.hash] = Predictor.load(self._repository / network.name / network.version)
        return self._predictors[network.hash]


def _hashes(forecast: Forecast) -> dict[str, str]:
    """Return the hashes behind a forecast; that of log-HAR names all, where no network took part."""
    if forecast.status != "model":
        return {"har": forecast.model.hash}
    return {name: expert.hash for name, expert in forecast.experts.items()}


def _named(models: Models) -> dict[str, str]:
    """Return the hash of each expert, as records have it."""
    base = {"har": models.har_hash} | ({"ewma": models.har_hash} if models.ewma else {})
    return base | {network.expert: network.hash for network in models.networks}
