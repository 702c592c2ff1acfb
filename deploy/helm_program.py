"""Helm, and the schemas that manifests are held against; `python -m deploy.helm_program` fetches them ahead.

Nothing of it is needed to run Foreshock: the tests of the chart and of deploy/compose.yaml ask for it.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from deploy.cache import DEPLOY, cache_dir, fingerprint, once, say
from deploy.environment import SetupError
from deploy.golang import module_folder, program
from schemas.errors import StackError

MODULES = DEPLOY / "helm"
"""go.mod and go.sum: every module by version and checksum."""
COMMAND = "helm.sh/helm/v3/cmd/helm"
SCHEMAS = DEPLOY / "manifest-schemas.sum"
"""Lines of module@version, its checksum, and the folder in it whose files are wanted."""


def helm_program() -> Path:
    """Return helm, built once (about 90 s of CPU) from modules equal to ``deploy/helm/go.sum``."""
    return program(MODULES, COMMAND, "helm")


def schema_files() -> Path:
    """Return a folder with the custom resources' definitions and the schema of compose files, fetched once."""
    return once(cache_dir() / "manifest-schemas" / fingerprint(SCHEMAS.read_bytes()), _fetch)


def _fetch(target: Path) -> None:
    say("fetching the schemas of manifests")
    for line in SCHEMAS.read_text().splitlines():
        module, checksum, folder = line.split()
        with tempfile.TemporaryDirectory(dir=target) as scratch:
            for path in sorted((module_folder(Path(scratch), module, checksum) / folder).iterdir()):
                if path.is_file():
                    shutil.copyfile(path, target / path.name)


if __name__ == "__main__":
    try:
        print(helm_program(), schema_files())
    except (SetupError, StackError) as failure:
        say(str(failure))
        sys.exit(1)
