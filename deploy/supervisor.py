"""Watches one stack: brings back a service that ended, and ends the stack when its owner has ended.

Started by the stack itself: `python -m deploy.supervisor FOLDER`.
"""

import sys
import time
from pathlib import Path

from deploy.cache import say
from deploy.stack import Stack
from schemas.errors import StackError

LOOK_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0


def watch(stack: Stack) -> None:
    """Look twice a second until nothing should run any more."""
    pause = LOOK_SECONDS
    while (plan := stack.plan).heal or plan.owner:
        if plan.owner and not plan.owner.is_running():
            say(f"process {plan.owner.pid}, which this stack was for, has ended: stopping")
            stack.end(wipe=True)
            return
        pause = _heal(stack, pause) if plan.heal else LOOK_SECONDS
        time.sleep(pause)


def _heal(stack: Stack, pause: float) -> float:
    """Start what ended; return how long to wait, longer after each failure in a row."""
    try:
        stack.heal()
    except StackError as error:
        say(str(error))
        return min(pause * 2, LONGEST_PAUSE_SECONDS)
    return LOOK_SECONDS


if __name__ == "__main__":
    watch(Stack(Path(sys.argv[1])))
