"""The feature tour of the README, run as it stands there on a copy of this checkout."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.cache import CHECKOUT

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PARTS = ("schemas", "featurestore", "triton_models", "streams", "deploy")


def blocks():
    text = (CHECKOUT / "README.md").read_text()
    section = text.split("## Add a feature\n")[1].split("\n## ")[0]
    return BLOCK.findall(section)


@pytest.fixture
def checkout(tmp_path):
    """A copy of this checkout, and its `foreshock` on PATH."""
    for part in PARTS:
        shutil.copytree(CHECKOUT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    command = tmp_path / "bin" / "foreshock"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom streams.cli import main\nmain()\n")
    command.chmod(0o755)
    return tmp_path


def test_the_feature_tour_does_what_it_says(checkout):
    path = f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
    said = ""
    for kind, text in blocks():
        if kind == "python":
            (checkout / "featurestore" / "features" / "order_flow_imbalance.py").write_text(text)
            continue
        options = {"cwd": checkout, "env": environment, "capture_output": True, "text": True, "timeout": 120}
        done = subprocess.run(["/bin/sh", "-e", "-c", text], check=False, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        said += done.stdout
    assert "2 checked, 0 problems" in said
    assert "order_flow_imbalance_5m" in said
    assert "return signed_volume.sum(-1) / volume.sum(-1)" in said
    assert Path(checkout / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert [kind for kind, _ in blocks()] == ["sh", "python", "sh"]
