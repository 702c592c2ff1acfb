"""What tells regimes apart, from the bundles of a profile."""

from pathlib import Path

from triton_models.export import read_published, versions
from triton_models.online.regimes import Watched

NETWORK = "performer"
"""All networks of a version are trained on the same rows and features; one of their bundles is enough."""


def watched_by(repository: Path, profile: str) -> Watched | None:
    """Return what the first published bundle that knows regimes watches, None where none does.

    A later version in the repository changes nothing: what was learned by regime would be of others.
    Raises StateError where a bundle cannot be read.
    """
    found = (
        read_published(version).spec.regimes for version in reversed(versions(repository / f"{NETWORK}-{profile}"))
    )
    return next((watched for watched in found if watched is not None), None)
