"""One reader fuzzed in a process of its own: `python -m streams.fuzz.worker READER SECONDS SEED CORPUS FOUND ACCOUNT`.

With atheris (the extra `fuzz`) inputs follow which lines of Python they reach, and those that reach
new ones are kept in the corpus; without it they are mutations of the seeds.
"""

import importlib.util
import os
import sys
import time
from pathlib import Path

import msgspec

from streams.fuzz.mutations import mutated
from streams.fuzz.trying import MOST_INPUT, SECONDS, Account, bound_memory, kept, peak_bytes, tried

_TELL_SECONDS = 0.5
_GRACE_SECONDS = 20
"""libFuzzer's own limit, for what no signal of Python ends: a C function that never returns."""


class Worker:
    """Gives inputs to a reader until its time is over, and keeps account in a file."""

    def __init__(self, name: str, seconds: float, found: Path, account: Path) -> None:
        from streams.fuzz.readers import readers

        self._reader = readers()[name]
        self._found, self._path = found / name, account
        self._begun = peak_bytes()
        self._ends = time.monotonic() + seconds
        self._tell_at = 0.0
        self.account = Account()

    def one(self, value: bytes) -> None:
        """Give one input; at the end of the time the process ends."""
        began = time.process_time()
        finding = tried(self._reader, value[:MOST_INPUT])
        self.account.executions += 1
        self.account.slowest_seconds = max(self.account.slowest_seconds, time.process_time() - began)
        if finding is not None and finding.name not in self.account.findings:
            self.account.findings[finding.name] = finding.text
            kept(finding, self._found)
        now = time.monotonic()
        if now >= self._tell_at or now >= self._ends:
            self._tell_at = now + _TELL_SECONDS
            self.tell()
        if now >= self._ends:
            os._exit(0)  # libFuzzer never returns.

    def tell(self) -> None:
        """Write the account."""
        self.account.peak_bytes = peak_bytes() - self._begun
        scratch = self._path.with_suffix(".new")
        scratch.write_bytes(msgspec.json.encode(self.account))
        scratch.replace(self._path)


def main() -> None:
    """Fuzz one reader, as the arguments say."""
    name, seconds, seed, corpus, found, account = sys.argv[1:]
    if importlib.util.find_spec("atheris"):
        _follow_lines(name, float(seconds), int(seed), Path(corpus), Path(found), Path(account))
    else:
        worker = Worker(name, float(seconds), Path(found), Path(account))
        worker.account.engine = "mutations"
        _mutate(worker, int(seed), Path(corpus))


def _mutate(worker: Worker, seed: int, corpus: Path) -> None:
    seeds = [path.read_bytes() for path in sorted(corpus.glob("*"))]
    bound_memory()
    for value in seeds:
        worker.one(value)
    for value in mutated(seeds, seed, MOST_INPUT):
        worker.one(value)


def _follow_lines(name: str, seconds: float, seed: int, corpus: Path, found: Path, account: Path) -> None:
    import atheris

    ours = ["streams.formats", "streams.ingest", "streams.infer", "schemas", "featurestore"]
    with atheris.instrument_imports(include=ours, enable_loader_override=False):
        worker = Worker(name, seconds, found, account)
    worker.account.engine = "atheris"
    bound_memory()
    arguments = [
        sys.argv[0],
        str(corpus),
        f"-seed={seed + 1}",  # 0 is a seed by the clock
        f"-max_len={MOST_INPUT}",
        f"-timeout={int(SECONDS) + _GRACE_SECONDS}",
        "-rss_limit_mb=0",
        "-verbosity=0",
        "-close_fd_mask=3",
        f"-artifact_prefix={found}/{name}-",
    ]
    atheris.Setup(arguments, worker.one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
