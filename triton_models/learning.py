"""How a network learns: AdamW on drawn examples, modalities hidden at random, weights averaged, best epoch kept.

One thread, deterministic kernels, one seed: the same lessons give the same bits on the same machine.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from schemas.tensors import HORIZON_NS
from triton_models.dataset import NEVER, Indices
from triton_models.losses import losses
from triton_models.material import Examples, Options
from triton_models.networks import Correction, Network
from triton_models.networks.gates import GatedInputs

Progress = Callable[[str, float], None]
"""Called with what is being done and how much of it is done, in [0, 1]."""

_LONG_WEIGHT = 0.02
"""Weight of horizons too long to choose a checkpoint: networks overfit them (bars, a day: QLIKE 5 % above log-HAR)."""
_RECENTRING = 8192
"""Rows by which means are recentred."""
_GATE_TRAVEL = 8.0
"""Openings that a gate could close by in all of training: enough to close for good halfway ..."""
_GATE_START = 0.25
"""... after so much of it, in which the network finds out what its inputs are for."""


class Lessons(Protocol):
    """What a network learns from and is judged by."""

    options: Options
    training: Indices
    """Rows to draw examples from."""
    validation: Indices
    """Later rows, to choose the epoch by; none: the last epoch is kept."""

    @property
    def horizons(self) -> tuple[str, ...]:
        """Return the horizons of the targets' columns."""
        ...

    def taught(self, rows: Indices) -> Examples:
        """Return examples with the targets that the training side may know."""
        ...

    def judged(self, rows: Indices) -> Examples:
        """Return examples with all targets."""
        ...


def learn(
    network: Network, lessons: Lessons, progress: Progress = lambda _text, _ratio: None
) -> tuple[Network, list[float]]:
    """Return the averaged network of the best epoch and the validation losses, the base's first."""
    options = lessons.options
    network.hurry(enabled=True)
    random = np.random.default_rng(options.seed)
    average = copy.deepcopy(network)
    weights = torch.tensor([1.0 if _may_choose(lessons, name) else _LONG_WEIGHT for name in lessons.horizons])
    best, history = copy.deepcopy(network.state_dict()), [_validation_loss(network, lessons)]
    costs = [history[0] + _penalty(network, options)]
    steps = options.steps // options.epochs
    optimiser = torch.optim.AdamW(_weights(network), lr=options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    for epoch in range(options.epochs):
        for step in range(steps):
            rows = np.sort(random.choice(lessons.training, options.batch))
            examples = hidden(lessons.taught(rows), network.inputs.members, options.dropout)
            _step(network, optimiser, examples, weights)
            _close(network, options, (epoch * steps + step) / options.steps)
            schedule.step()
            _average(average, network, options.averaging)
            progress(f"epoch {epoch + 1} of {options.epochs}", (epoch * steps + step + 1) / options.steps)
        history.append(_validation_loss(average, lessons))
        costs.append(history[-1] + _penalty(average, options))
        if costs[-1] <= min(costs) or not len(lessons.validation):
            best = copy.deepcopy(average.state_dict())
        if len(lessons.validation) and epoch + 1 - int(np.argmin(costs)) >= options.patience:
            break
    average.load_state_dict(best)
    average.hurry(enabled=False)
    return average.eval(), [round(loss, 6) for loss in history]


def forget(network: Network, lessons: Lessons) -> list[str]:
    """Give the horizons back to log-HAR at which the network is no better on validation; return them."""
    gain, nothing = torch.zeros(len(lessons.horizons)), torch.zeros(())
    for examples, correction in outputs(network, lessons, lessons.validation):
        untouched = Correction(nothing, nothing, torch.ones(()))
        gain += (losses(examples, untouched) - losses(examples, correction)).sum(0)
    forgotten = [index for index in range(len(lessons.horizons)) if gain[index] <= 0]
    for index in forgotten:
        network.head.forget(index)
    return [lessons.horizons[index] for index in forgotten]


def settle(network: Network, lessons: Lessons, trusted: Sequence[str], left: Sequence[str] = ()) -> tuple[str, ...]:
    """Recentre a network and give horizons back to the base: those not trusted, and those at which it is no better.

    Without validation rows, those that were `left` before; returns them all.
    """
    recentre(network, lessons)
    worse = forget(network, lessons) if len(lessons.validation) else left
    back = tuple(name for name in lessons.horizons if name in worse or name not in trusted)
    for name in back:
        network.head.forget(lessons.horizons.index(name))
    return back


def recentre(network: Network, lessons: Lessons) -> None:
    """Move each horizon's mean so that realised over expected variance averages what it does for the base.

    A loss that is clipped in its tail leaves means too low. The level is the base's affair: it is
    corrected by its recent residuals, which a network that learns from years would undo.
    """
    rows = lessons.training[:: -(-len(lessons.training) // _RECENTRING)]
    for _ in range(2):  # the head bends what it is moved by
        ratio = torch.zeros(2, len(lessons.horizons), dtype=torch.float64)
        for examples, correction in outputs(network, lessons, rows, lessons.taught):
            excess = (examples.target - examples.base[0]).double()  # NaN where not known
            ratio += torch.stack([torch.exp(excess - correction.mean), torch.exp(excess)]).nansum(1)
        moves = torch.log(ratio[0] / ratio[1]).nan_to_num()
        network.head.move(moves.float())


def outputs(
    network: Network, lessons: Lessons, rows: Indices, examples_of: Callable[[Indices], Examples] | None = None
) -> Iterator[tuple[Examples, Correction]]:
    """Yield batches of examples, with all targets unless told otherwise, and what the network makes of them."""
    with torch.inference_mode():
        for start in range(0, len(rows), lessons.options.batch):
            examples = (examples_of or lessons.judged)(rows[start : start + lessons.options.batch])
            yield examples, network(examples.features, examples.mask, examples.age)[0]


def hidden(examples: Examples, members: Tensor, probability: float) -> Examples:
    """Hide modalities at random, for a whole window: what a network may lose, it must not need."""
    rows, _, modalities = examples.age.shape
    hide = torch.rand(rows, 1, modalities) < probability  # (B, 1, M)
    masked = (hide[:, :, None, :] & members).any(-1)  # (B, 1, F)
    age = torch.where(hide, NEVER, examples.age)
    return examples._replace(mask=torch.where(masked, 0.0, examples.mask), age=age)


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """One thread, one seed and deterministic kernels; gives the process its own back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.use_deterministic_algorithms(mode=False)
        torch.set_num_threads(threads)


def _may_choose(lessons: Lessons, horizon: str) -> bool:
    """Return whether there are enough independent targets of a horizon to choose a checkpoint by."""
    return HORIZON_NS[horizon] <= HORIZON_NS[lessons.options.longest_choosing]


def _weights(network: Network) -> list[nn.Parameter]:
    """Return what AdamW learns: all parameters but gates, which have steps of their own."""
    gates = network.inputs.gates if isinstance(network.inputs, GatedInputs) else None
    return [parameter for parameter in network.parameters() if parameter is not gates]


def _step(network: Network, optimiser: torch.optim.Optimizer, examples: Examples, weights: Tensor) -> None:
    (parameters,) = (group["params"] for group in optimiser.param_groups)
    correction, _ = network(examples.features, examples.mask, examples.age)
    known = torch.isfinite(examples.target).sum().clamp(min=1)
    loss = (losses(examples, correction) * weights).sum() / known
    network.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimiser.step()


def _close(network: Network, options: Options, done: float) -> None:
    """Let gates take a step; none while the network begins, ever smaller ones later."""
    inputs = network.inputs
    if isinstance(inputs, GatedInputs) and options.gate_penalty and done >= _GATE_START:
        rate = _GATE_TRAVEL / options.steps * (1 + math.cos(math.pi * done)) / 2
        inputs.step(rate, options.gate_penalty)


def _penalty(network: Network, options: Options) -> float:
    """Return what open gates cost, so that no epoch is kept for being early."""
    if not isinstance(network.inputs, GatedInputs):
        return 0.0
    return options.gate_penalty * float(network.inputs.gates.detach().sum())


def _average(average: Network, network: Network, decay: float) -> None:
    """Move the average; gates are taken as they are, or none of its would be exactly zero."""
    with torch.no_grad():
        for kept, new in zip(average.parameters(), network.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)
        if isinstance(average.inputs, GatedInputs) and isinstance(network.inputs, GatedInputs):
            average.inputs.gates.copy_(network.inputs.gates)


def _validation_loss(network: Network, lessons: Lessons) -> float:
    """Return the mean loss over the horizons that may choose a checkpoint."""
    chosen = [index for index, name in enumerate(lessons.horizons) if _may_choose(lessons, name)]
    total, count = 0.0, 0
    for examples, correction in outputs(network, lessons, lessons.validation):
        loss = losses(examples, correction)[:, chosen]
        total += float(loss.double().sum())
        count += int(torch.isfinite(examples.target[:, chosen]).sum())
    return total / max(count, 1)
