"""The chart rendered by helm, and what rendered manifests are held against."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import yaml

from deploy.environment import packages
from deploy.helm_program import helm_program, schema_files
from deploy.manifests import CHART

KUBERNETES = ("1.30", "1.35")
_RENDERED = ("foreshock", str(CHART), "--kube-version", KUBERNETES[0])
EVERYTHING = {
    "stages": {"store": {"enabled": True}, "parity": {"enabled": True}},
    "autoscaling": {"enabled": True},
    "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
    "images": {"pullSecrets": [{"name": "registry"}]},
    "models": {"existingClaim": "models"},
    "store": {"credentialsSecret": "s3"},
    "networkPolicy": {
        "clients": [{"podSelector": {"matchLabels": {"app": "feed"}}}],
        "storeEgress": [{"ports": [{"port": 443, "protocol": "TCP"}]}],
    },
}


def helm(*arguments, given=""):
    """Run helm; return (exit code, what it said)."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    command = [str(helm_program()), *arguments]
    done = subprocess.run(command, input=given, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr


def lint(*files, values=None):
    return helm("lint", "--strict", str(CHART), *_chosen(files), given=json.dumps(values or {}))


def template(*files, values=None):
    """Return the rendered objects; the values files by name, then `values` over them."""
    code, said = helm("template", *_RENDERED, *_chosen(files), given=json.dumps(values or {}))
    assert code == 0, said
    return [each for each in yaml.safe_load_all(said) if each]


def refusal(values):
    """Return what helm says of values that it refuses."""
    code, said = helm("template", *_RENDERED, *_chosen(()), given=json.dumps(values))
    assert code != 0, "helm took them"
    return said


def _chosen(files):
    return [each for name in files for each in ("--values", str(CHART / name))] + ["--values", "-"]


def of_kind(objects, kind):
    """Return the objects of one kind by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def is_custom(each):
    return "." in each["apiVersion"].partition("/")[0] and not each["apiVersion"].partition("/")[0].endswith(".k8s.io")


def validated(folder, objects, version):
    """Return what kubernetes-validate, strict, says is wrong with objects of Kubernetes' own; "" where nothing is."""
    for index, each in enumerate(objects):
        (folder / f"{index}.yaml").write_text(yaml.safe_dump(each))
    files = [str(folder / f"{index}.yaml") for index in range(len(objects))]
    environment = os.environ | {"PYTHONPATH": str(packages("manifests"))}
    command = [sys.executable, "-m", "kubernetes_validate", "--kubernetes-version", version, "--strict", *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


class _Loader(yaml.SafeLoader):
    """Reads a lone `=`, which definitions list among operators, as the text that it is."""


_Loader.add_constructor("tag:yaml.org,2002:value", _Loader.construct_scalar)


@cache
def custom_schemas():
    """Return the structural schema by (apiVersion, kind) of every custom resource whose definition can be had."""
    found = {}
    for path in schema_files().glob("*.yaml"):
        definition = yaml.load(path.read_text(), _Loader)
        if isinstance(definition, dict) and definition.get("kind") == "CustomResourceDefinition":
            spec = definition["spec"]
            for version in spec["versions"]:
                key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                found[key] = _closed(version["schema"]["openAPIV3Schema"])
    return found


def _closed(schema, *, top=True):
    """Return a schema that refuses fields it does not name, as the API server drops them."""
    if not isinstance(schema, dict):
        return schema
    closed = {name: value for name, value in schema.items() if name != "format"}
    for name in ("properties",):
        if name in closed:
            closed[name] = {key: _closed(value, top=False) for key, value in closed[name].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(closed.get(name), dict):
            closed[name] = _closed(closed[name], top=False)
    if "pattern" in closed:
        closed["pattern"] = closed["pattern"].replace("^(?i)", "(?i)^")  # Go takes flags anywhere, Python in front
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
    if "properties" in closed and "additionalProperties" not in closed and not top:
        closed["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    return closed


def compose_schema():
    """Return the JSON Schema of compose files."""
    return json.loads((Path(schema_files()) / "compose-spec.json").read_text())
