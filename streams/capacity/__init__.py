"""What a load needs, from measured costs: `foreshock capacity`."""

from streams.capacity.plan import Plan, plan

__all__ = ["Plan", "plan"]
