"""A stage whose process has another clock: `python -m streams.chaos.shifted SECONDS AFTER BACK STAGE`.

Python's `time.time` and `time.time_ns` say SECONDS more than the machine's clock, and AFTER seconds
later BACK seconds less. Other clocks of the process, as librdkafka's own, are those of the machine.
"""

import sys
import time

_clock_ns = time.time_ns


def command(stage: str, seconds: float, after: float = 0.0, back: float = 0.0) -> tuple[str, ...]:
    """Return the command that runs `foreshock STAGE` with another clock."""
    return (sys.executable, "-m", __name__, str(seconds), str(after), str(back), stage)


def shift(seconds: float, after: float, back: float) -> None:
    """Give this process another clock from now on."""
    began_ns = _clock_ns()

    def shifted_ns() -> int:
        now_ns = _clock_ns()
        stepped = now_ns - began_ns > after * 1e9
        return now_ns + round((seconds - (back if stepped else 0.0)) * 1e9)

    time.time_ns = shifted_ns
    time.time = lambda: shifted_ns() / 1e9


if __name__ == "__main__":
    shift(*map(float, sys.argv[1:4]))
    sys.argv[1:] = sys.argv[4:]
    from streams.cli import main  # only now: what is imported may keep the functions of `time`

    main()
