"""What tells regimes apart, from the bundles of a profile."""

from pathlib import Path

from schemas.errors import DecodeError, StateError
from triton_models.bundle import read
from triton_models.export import versions
from triton_models.online.regimes import Watched

_NETWORK = "performer"
"""All networks of a version are trained on the same rows; one of their bundles is enough."""


def watched_by(repository: Path, profile: str) -> Watched | None:
    """Return what the first published bundle that knows regimes watches, None where none does.

    A later version in the repository changes nothing: what was learned by regime would be of others.
    Raises StateError where a bundle cannot be read.
    """
    folder = repository / f"{_NETWORK}-{profile}"
    if not folder.is_dir():
        return None
    try:
        found = (read(version).spec.regimes for version in reversed(versions(folder)))
        return next((watched for watched in found if watched is not None), None)
    except DecodeError as error:
        raise StateError(f"{error}; restore the bundle or train it anew with `foreshock train`") from None
