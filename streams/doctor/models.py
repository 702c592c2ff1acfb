"""Bundles as files, and Triton as it answers: its health endpoint stays green over a dead model."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from featurestore.catalogue import Catalogue
from schemas.errors import ForeshockError, InferenceError, StateError
from streams.doctor.finding import Finding, error, fine, warning
from streams.infer.models import NETWORKS, Models, misfit, read_models
from streams.infer.versions import served
from streams.metrics_server import Metrics
from streams.settings import Settings
from streams.triton_client import Served, TritonClient
from triton_models.export import read_published, versions

_UP = "foreshock up, or set FORESHOCK_TRITON_URL to one that runs"


def bundle_findings(settings: Settings) -> Iterator[Finding]:
    """Yield whether each bundle is what its hash says, and whether the code makes the features it pins."""
    repository = Path(settings.model_repository)
    catalogue = Catalogue.discover(settings.rules)
    found = [path for expert in NETWORKS for path in versions(repository / f"{expert}-{settings.profile}")]
    if not found:
        what = f"there are none for the profile {settings.profile}: all forecasts are those of persistence"
        yield warning("bundles", str(repository), what, f"foreshock train --profile {settings.profile}")
    for path in found:
        name = f"{path.parent.name} {path.name}"
        try:
            bundle = read_published(path)
        except StateError as problem:
            yield error("bundles", name, str(problem), f"git checkout -- {path}, or foreshock train")
            continue
        missing = [feature for feature in bundle.spec.features if feature not in catalogue.versions]
        if missing:
            what = f"it pins {missing[0]}, which no file of features makes"
            yield error("bundles", name, what, "bring the feature back, or foreshock train")
        else:
            yield fine("bundles", name, f"hash {bundle.hash[:12]}, {len(bundle.spec.features)} features")
    models = _models(settings)
    if found and models.networks and (reason := misfit(models, catalogue.versions)):
        yield error("bundles", settings.profile, reason, f"foreshock train --profile {settings.profile}")


def triton_findings(settings: Settings) -> Iterator[Finding]:
    """Yield whether Triton lives, and of each model whether it is there and answers its canary."""
    networks = _models(settings).networks
    yield from asyncio.run(_asked(settings, [served(network) for network in networks]))


def _models(settings: Settings) -> Models:
    rules = settings.rules
    try:
        return read_models(settings.profile, Path(settings.model_repository), row_interval_ns=rules.row_interval_ns)
    except ForeshockError as problem:
        raise StateError(f"the models cannot be read: {problem}") from None


async def _asked(settings: Settings, models: list[Served]) -> list[Finding]:
    client = TritonClient(settings, models, Metrics())
    client.connect()
    try:
        states = await client.index()
        findings = [fine("Triton", settings.triton_url, f"answers, {len(states)} model versions")]
        findings += [await _model(client, model, states.get((model.name, model.version), "")) for model in models]
    except InferenceError as problem:
        return [error("Triton", settings.triton_url, f"does not answer ({problem}): forecasts are fallbacks", _UP)]
    finally:
        await client.stop()
    return findings


async def _model(client: TritonClient, model: Served, state: str) -> Finding:
    name = f"{model.name} {model.version}"
    if state != "READY":
        what = f"is {state.lower() or 'not there'}: forecasts are fallbacks"
        return error("Triton", name, what, "foreshock run loads it; foreshock down, then up, starts Triton anew")
    try:
        await client.canary(model)
    except InferenceError as problem:
        what = f"says it is ready and gives no usable answer to its canary: {problem}"
        return error("Triton", name, what, "foreshock run loads it anew; foreshock down, then up, starts Triton anew")
    return fine("Triton", name, "ready, answers its canary")
