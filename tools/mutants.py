"""Small changes of Python source: what `tools.mutation` tries."""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_SWAPS: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes `start` to `end` of `file` become `new`."""

    group: str
    file: str
    line: int
    start: int
    end: int
    old: str
    new: str
    caught: bool = False

    def __str__(self) -> str:
        old, new = (" ".join(text.split())[:90] for text in (self.old, self.new))
        return f"{self.file}:{self.line}: {old}  ->  {new}"


def mutants(source: bytes, file: str = "", group: str = "") -> list[Mutant]:
    """Every change that is known for this source, in the order of its lines."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, changed in _changes(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        new = ast.unparse(ast.fix_missing_locations(changed))
        if isinstance(node, ast.expr):
            new = f"({new})"
        found.append(Mutant(group, file, node.lineno, start, end, source[start:end].decode(), new))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end, mutant.new))


def _changes(node: ast.AST) -> Iterator[tuple[Any, ast.AST]]:
    """Pairs of a node below `node` and what takes its place; what says only types or messages is left alone."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            # Python before 3.12 gives no places inside of an f-string.
            if isinstance(child, ast.AST) and not isinstance(child, (ast.JoinedStr, ast.Raise, ast.Assert)):
                yield from ((child, changed) for changed in _replacements(child))
                if isinstance(child, (ast.If, ast.While, ast.IfExp)) and not _has_opposite(child.test):
                    yield child.test, ast.UnaryOp(ast.Not(), child.test)
                yield from _changes(child)


def _has_opposite(test: ast.expr) -> bool:
    """Whether a change of its operator negates it already."""
    if isinstance(test, ast.Compare):
        return isinstance(test.ops[0], (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn))
    return isinstance(test, ast.UnaryOp)


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                yield _with(node, ops=[*node.ops[:place], _SWAPS[type(operator)](), *node.ops[place + 1 :]])
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) if type(operator) in _SWAPS:
            yield _with(node, op=_SWAPS[type(operator)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float() as number):
            yield from (ast.Constant(number + 1), ast.Constant(number - 1))
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute(), *_]):
            yield ast.Pass()


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def sample(root: Path, group: str, patterns: list[str], count: int, seed: int) -> list[Mutant]:
    """`count` changes of the files that `patterns` name, drawn with `seed`; all where there are no more."""
    files = sorted({path for pattern in patterns for path in root.glob(pattern)})
    found = [
        mutant
        for path in files
        for mutant in mutants(path.read_bytes(), path.relative_to(root).as_posix(), group)
    ]
    drawn = random.Random(f"{seed} {group}").sample(found, min(count, len(found)))
    return sorted(drawn, key=lambda mutant: (mutant.file, mutant.start))
