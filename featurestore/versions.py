"""The version of a tile or feature: a hash of what decides its bits."""

import ast
import hashlib
import inspect
import linecache
import textwrap
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from schemas import FeatureError

_DIGITS = 12


def digest(*parts: object) -> str:
    """Return 12 hex digits that name the parts in their order."""
    text = "\x1f".join(map(str, parts))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def code_of(function: Callable[..., Any], name: str = "") -> str:
    """Return what a function computes, as `name`: its code and what it uses of its module.

    Comments, docstrings, annotations, decorators and layout are not in it. Functions and constants
    of the module that it uses are, and those that they use.
    """
    return "\n".join(_code(function, set(), name))


def _code(function: Callable[..., Any], seen: set[str], name: str = "") -> list[str]:
    tree = _normalised(function)
    tree.name = name or tree.name
    outside = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    lines = [ast.unparse(tree)]
    for used in sorted(_free_names(tree) & outside.keys() - seen):
        seen.add(used)
        lines += _part(used, outside[used], seen)
    return lines


def _free_names(tree: ast.AST) -> set[str]:
    """Return the names that a function reads and does not bind; its inputs may be named as tiles are."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    bound |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return {node.id for node in names} - bound


def _part(name: str, value: object, seen: set[str]) -> list[str]:
    if isinstance(value, ModuleType):
        return [f"{name} = module {value.__name__}"]
    if isinstance(value, FunctionType):
        return [f"{name} = function", *_code(value, seen)]
    if callable(value):
        return [f"{name} = {getattr(value, '__module__', '')}.{getattr(value, '__qualname__', name)}"]
    if isinstance(value, (bool, int, float, str, bytes, tuple, frozenset)) or value is None:
        return [f"{name} = {value!r}"]
    raise FeatureError(f"{name}: a {type(value).__name__} outside of the function; use a number, text or tuple")


def _normalised(function: Callable[..., Any]) -> ast.FunctionDef:
    linecache.checkcache(function.__code__.co_filename)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    if not isinstance(tree, ast.FunctionDef):
        raise FeatureError(f"{function.__name__}: expected a function written with def")
    tree.decorator_list = []
    tree.returns = None
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def names_in(function: Callable[..., Any]) -> set[str]:
    """Return what a function, and what it calls in its module, uses from outside ("np.log", "global")."""
    found = set()
    for part in _code(function, set()):
        if part.startswith("def "):
            found |= _outside_names(ast.parse(part).body[0])
    return found


def _outside_names(tree: ast.AST) -> set[str]:
    nodes = list(ast.walk(tree))
    free = _free_names(tree)
    dotted = (ast.unparse(node) for node in nodes if isinstance(node, (ast.Attribute, ast.Name)))
    keywords = {"global" for node in nodes if isinstance(node, (ast.Global, ast.Nonlocal))}
    keywords |= {"import" for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))}
    return {name for name in dotted if name.partition(".")[0] in free} | keywords
