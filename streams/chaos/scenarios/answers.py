"""Triton answers, and what it answers is of no use: a dead model, NaN, tensors of another shape."""

import http.client
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from deploy.ports import LOOPBACK
from deploy.stack import Stack, private_stack
from deploy.triton import repository_models
from schemas.errors import StackError
from schemas.forecasts import Forecast, decode_json
from schemas.topics import FORECAST
from streams.chaos.live import Live
from streams.chaos.outages import (
    INTENSITY,
    MARKET_SECONDS,
    PATIENCE_SECONDS,
    WARM_SECONDS,
    Outage,
    Watch,
    judge,
    suffered,
)
from streams.chaos.scenario import Playing, Trial, scenario
from streams.kafka import read_topic
from triton_models.export import versions

_DETECTED_SECONDS = 10
_LONGER_SECONDS = 5.0
"""So long answers are wrong behind their notice, for forecasts to be marked in."""
_PROGRAM = '''"""The network of this folder, which answers nonsense while a file says so."""

import json
from pathlib import Path

import torch
import triton_python_backend_utils as backend

from triton_models.serve import TritonPythonModel as Sound

FAULT = Path({fault!r})


class TritonPythonModel(Sound):
    def initialize(self, args):
        super().initialize(args)
        self.tails = {{one["name"]: one["dims"] for one in json.loads(args["model_config"])["output"]}}

    def execute(self, requests):
        fault = FAULT.read_text() if FAULT.exists() else ""
        return [self.nonsense(fault, request) for request in requests] if fault else super().execute(requests)

    def nonsense(self, fault, request):
        features = backend.get_input_tensor_by_name(request, "features")
        rows = len(torch.from_dlpack(features.to_dlpack()))
        more = [1] if fault == "shape" else []
        value = 0.5 if more else float("nan")
        tensors = {{name: torch.full([rows, *map(int, tail), *more], value) for name, tail in self.tails.items()}}
        return backend.InferenceResponse(
            output_tensors=[backend.Tensor.from_dlpack(name, each.__dlpack__()) for name, each in tensors.items()]
        )
'''


@scenario(
    "F10",
    "a model's process killed under a green health endpoint; answers of NaN; answers of another shape",
    seconds=150,
)
def answer_nonsense(trial: Trial) -> None:
    """Play the market on a Triton of its own, whose LSTM answers nonsense when told and whose Performer dies."""
    fault = trial.settings.state_dir / "fault"
    repository = _repository(trial, fault)
    models = repository_models(repository)
    trial.say("starting a Triton of its own")
    with private_stack(
        trial.settings.state_dir / "triton", ("triton",), repository=repository, models=models
    ) as triton:
        trial.settings = replace(trial.settings, triton_url=triton.triton_grpc, model_repository=str(repository))
        with trial.running() as live, Watch(live) as watch:
            market = trial.market(MARKET_SECONDS, INTENSITY)
            with Playing(trial.settings, market, ahead_seconds=WARM_SECONDS) as playing:
                outages = [_dead(trial, live, watch, triton)]
                outages += [_wrong(trial, live, watch, fault, kind) for kind in ("nan", "shape")]
            live.wait_until_done(seconds=PATIENCE_SECONDS)
            trial.require(not live.said, f"processes ended: {live.said}")
    judge(trial, watch.looks, outages, playing.ahead_ms)
    for kind, seconds in detected(watch, outages).items():
        trial.figure(f"{kind}: noticed after", seconds, "s", limit=_DETECTED_SECONDS)
    trial.figure("numbers published that are none", _not_finite(trial), limit=0)
    trial.verify()


def _repository(trial: Trial, fault: Path) -> Path:
    """Return a copy of the models of this profile, the LSTM with the program that can be told to fail."""
    folder = trial.settings.state_dir / "models"
    for name in repository_models(Path(trial.settings.model_repository)):
        if name.endswith(f"-{trial.settings.profile}"):
            shutil.copytree(Path(trial.settings.model_repository) / name, folder / name, dirs_exist_ok=True)
    for version in versions(folder / f"lstm-{trial.settings.profile}"):
        shutil.rmtree(version / "__pycache__", ignore_errors=True)
        (version / "model.py").write_text(_PROGRAM.format(fault=str(fault)))
    return folder


def _dead(trial: Trial, live: Live, watch: Watch, triton: Stack) -> Outage:
    """Kill the process of a model and wait until the breaker has noticed; Triton calls itself healthy all the while."""

    def kill() -> None:
        pid = triton.pid("triton")
        if pid is None:
            raise StackError(f"Triton does not run; its log: {triton.log('triton')}")
        wanted = f"performer-{trial.settings.profile}/"
        served = psutil.Process(pid).children(recursive=True)
        for process in served:
            if any(wanted in part for part in process.cmdline()):
                process.kill()
        trial.require(_is_green(triton), "Triton's health endpoint tells of the dead model: this is no test of it")
        live.wait(lambda: not watch.is_closed, PATIENCE_SECONDS, "the dead model to be noticed")

    return suffered(trial, live, watch, "dead", kill)


def _is_green(triton: Stack) -> bool:
    host, _, port = triton.triton_http.rpartition(":")
    connection = http.client.HTTPConnection(host or LOOPBACK, int(port), timeout=5)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    finally:
        connection.close()


def _wrong(trial: Trial, live: Live, watch: Watch, fault: Path, kind: str) -> Outage:
    def answer() -> None:
        with _told(fault, kind):
            live.wait(lambda: not watch.is_closed, PATIENCE_SECONDS, f"{kind} to be noticed")

    return suffered(trial, live, watch, kind, answer)


@contextmanager
def _told(fault: Path, kind: str) -> Iterator[None]:
    part = fault.with_suffix(".part")
    part.write_text(kind)
    part.replace(fault)
    try:
        yield
    finally:
        fault.unlink()


def detected(watch: Watch, outages: list[Outage]) -> Mapping[str, float]:
    """Return by kind of outage after how many seconds the breaker was seen open."""
    return {
        one.kind: min(look.at_ms - one.began_ms for look in watch.looks if _shows(look.at_ms, look.is_closed, one))
        / 1e3
        for one in outages
    }


def _shows(at_ms: int, is_closed: bool, outage: Outage) -> bool:
    return not is_closed and at_ms > outage.began_ms


def _not_finite(trial: Trial) -> int:
    """Return how many numbers of published forecasts are NaN or infinite."""
    return sum(
        not math.isfinite(number)
        for message in read_topic(trial.settings, FORECAST)
        for horizon in decode_json(message.value or b"", Forecast).horizons.values()
        for number in (horizon.mean, horizon.volatility_annualised, *horizon.quantiles.values())
    )
