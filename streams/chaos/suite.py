"""Runs scenarios, one after another, on one private stack."""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from deploy.ports import free_range
from deploy.stack import Stack, default_folder, private_stack
from deploy.triton import repository_models
from schemas.errors import ForeshockError, SettingsError
from streams.chaos.emptying import reset
from streams.chaos.scenario import Outcome, Scenario, Trial, scenarios
from streams.settings import Settings

QUICK = ("F1", "F3", "F8", "F11", "F12", "F13", "F21", "F24")
"""What `deploy/test` runs, with one seed each."""
_NOWHERE = "127.0.0.1:9"
"""The discard port: nobody answers there."""
_CHECKPOINT_SECONDS = 2.0
_MOST_PROCESSES = 16
"""Of a trial: each has a port of its own for its metrics."""

Told = Callable[[Scenario, int, str], None]
"""Is told the scenario, the seed and what is being done."""


def chosen(names: Sequence[str]) -> list[Scenario]:
    """Return the scenarios of these names, all for none; raises SettingsError."""
    known = scenarios()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SettingsError(f"there is no scenario {unknown[0]}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(known.values())


def run(
    settings: Settings,
    wanted: Iterable[tuple[Scenario, int]],
    *,
    quick: bool,
    told: Told,
) -> Iterator[Outcome]:
    """Yield the outcome of each scenario and seed, on one stack that is emptied and healed before each."""
    wanted = list(wanted)
    services = sorted({service for each, _ in wanted for service in each.services})
    folder = default_folder(f"chaos-{os.getpid()}")
    repository = Path(settings.model_repository)
    models = [name for name in repository_models(repository) if name.endswith(f"-{settings.profile}")]
    with private_stack(folder, services, repository=repository, models=models) as stack:
        for each, seed in wanted:
            yield trial(settings, stack, each, seed, quick=quick, say=partial(told, each, seed))
    shutil.rmtree(folder, ignore_errors=True)  # after a failure its logs stay


def trial(
    settings: Settings, stack: Stack, wanted: Scenario, seed: int, *, quick: bool, say: Callable[[str], None]
) -> Outcome:
    """Run one scenario with one seed; whatever goes wrong is in its outcome."""
    outcome = Outcome(scenario=wanted.name, seed=seed, quick=quick)
    started = time.monotonic()
    try:
        say("emptying the broker")
        stack.heal()
        private = _private(settings, stack, wanted, seed)
        reset(private, keep=())
        wanted.run(Trial(private, stack, outcome, say))
    except ForeshockError as error:
        outcome.error = str(error)
    except Exception as error:  # noqa: BLE001 - one broken scenario must not hide the others
        outcome.error = f"{type(error).__name__}: {error}"
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome


def _private(settings: Settings, stack: Stack, wanted: Scenario, seed: int) -> Settings:
    """Return the settings of one trial: quick to notice, with logs of its own."""
    return replace(
        settings,
        bootstrap_servers=stack.bootstrap_servers,
        triton_url=stack.triton_grpc if "triton" in wanted.services else _NOWHERE,
        # The private stack has neither, whatever one's own has.
        kafka_security="PLAINTEXT",
        triton_tls="off",
        heartbeat_writer="replay",
        metrics_port=free_range(_MOST_PROCESSES),
        checkpoint_seconds=_CHECKPOINT_SECONDS,
        session_timeout_seconds=6.0,
        state_dir=stack.folder / "trials" / f"{wanted.name}-{seed}",
    )
