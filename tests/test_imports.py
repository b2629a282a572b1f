"""Every import points down, wherever it stands, and nothing heavy is loaded before it is needed."""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import tlkit

PACKAGE = Path(tlkit.__file__).parent

# One line a floor, the ground floor first: a room may import those on the floors below it.
FLOORS = (
    "errors files progress text memory",
    "images phases evaluation pages layers",
    "augmentation nets",
    "backbones",
    "models",
    "features serving",
    "training inspection",
    "planning labels",
    "advice",
    "workflows",
    "tuning",
    "cli",
    "__init__ __main__ recipe_files",
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms.split()}
DOORS = ("__init__", "cli.__init__")  # they name all there is, and fetch it on first use
LONGEST = 320  # lines of a file


class Import(NamedTuple):
    """One module that a file imports, and the names it takes out of it."""

    module: str  # "images.table", without the package
    names: tuple[str, ...]
    line: int


def modules() -> dict[str, Path]:
    """Returns each module by its dotted name without the package; a room is its `__init__`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found[".".join(path.relative_to(PACKAGE).with_suffix("").parts)] = path
    return found


MODULES = modules()


def known(dotted: str) -> str | None:
    """Returns the module that a dotted name means: itself, or the door of a room."""
    if dotted in MODULES:
        return dotted
    return f"{dotted}.__init__" if f"{dotted}.__init__" in MODULES else None


def imports(tree: ast.AST) -> Iterator[Import]:
    """Yields every import of the package in a file: in functions, for types, and by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tlkit":
            inside = (node.module or "")[len("tlkit.") :]
            for alias in node.names:
                whole = f"{inside}.{alias.name}" if inside else alias.name
                if module := known(whole):
                    yield Import(module, (), node.lineno)
                else:
                    module = known(inside or "__init__") or f"{node.module} (there is none)"
                    yield Import(module, (alias.name,), node.lineno)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("tlkit."):
                    yield Import(known(alias.name[6:]) or alias.name, (), node.lineno)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = re.fullmatch(r"tlkit\.([\w.]+)(:\w+)?", node.value)
            if match and (module := known(match[1])):
                yield Import(module, (), node.lineno)


TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
IMPORTS = {name: list(imports(tree)) for name, tree in TREES.items()}


def room(module: str) -> str:
    return module.split(".")[0]


def test_every_room_stands_on_a_floor():
    assert {room(name) for name in MODULES} == set(FLOOR)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_down(name):
    if name in DOORS:
        return
    for used in IMPORTS[name]:
        assert used.module in MODULES, f"tlkit/{name}:{used.line} imports {used.module}"
        if room(used.module) != room(name):
            low, high = FLOOR[room(used.module)], FLOOR[room(name)]
            assert low < high, f"tlkit/{name}:{used.line} must not import tlkit.{used.module}"


@pytest.mark.parametrize("name", sorted({room(name) for name in MODULES}))
def test_no_cycle_inside_a_room(name):
    inside = [module for module in MODULES if room(module) == name and module not in DOORS]
    graph = {
        module: {used.module for used in IMPORTS[module] if used.module in inside} - {module}
        for module in inside
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def private(tree: ast.AST, aliases: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Yields each `_name` that a file takes out of another module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tlkit"):
            for alias in node.names:
                if alias.name.startswith("_") and not alias.name.startswith("__"):
                    yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
            if isinstance(node.value, ast.Name) and node.value.id in aliases:
                yield node.lineno, f"{aliases[node.value.id]}.{node.attr}"


def module_aliases(tree: ast.AST) -> dict[str, str]:
    """Returns the names that stand for modules of the package in a file."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tlkit":
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"[len("tlkit.") :]
                if known(dotted):
                    found[alias.asname or alias.name] = dotted
    return found


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nobody_reads_another_modules_private_name(name):
    tree = TREES[name]
    own = {f"tlkit.{room(name)}"}
    taken = [
        f"line {line}: {what}"
        for line, what in private(tree, module_aliases(tree))
        if what.rpartition(".")[0] not in own  # a room may use its own `_module`
    ]
    assert not taken


def test_no_third_level():
    assert all(name.count(".") <= 1 for name in MODULES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_file_can_be_read_in_one_sitting(name):
    assert MODULES[name].read_text(encoding="utf-8").count("\n") <= LONGEST


@pytest.mark.parametrize("name", sorted({room(n) for n in MODULES if "." in n}))
def test_every_room_says_what_lives_in_it(name):
    text = ast.get_docstring(TREES[f"{name}.__init__"]) or ""
    assert len(text) > 150, f"tlkit/{name}/__init__.py: say what is here and what to read first"


LIGHT = (
    "tlkit", "tlkit.cli", "tlkit.backbones.table", "tlkit.evaluation.metrics", "tlkit.phases.phase",
    "tlkit.phases.schedules", "tlkit.phases.recipe_format", "tlkit.tuning.process",
)  # fmt: skip


@pytest.mark.parametrize("module", LIGHT)
def test_light_imports_leave_tensorflow_alone(module):
    script = f"import {module}, sys\nprint(sorted({{'tensorflow', 'keras'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_no_room_is_called_like_a_public_name():
    # Importing `tlkit.x` would put the module in the place of the function `tlkit.x`.
    assert set(tlkit.__all__) & set(FLOOR) == {"nets"}


def test_the_facade_names_the_same_for_types_and_at_run_time():
    block = next(node for node in TREES["__init__"].body if isinstance(node, ast.If))
    typed = {alias.name for node in block.body for alias in node.names}
    assert typed == set(tlkit.__all__)
    assert all(getattr(tlkit, name) is not None for name in tlkit.__all__)


RECIPES = sorted((PACKAGE.parent / "recipes").rglob("*.py"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_uses_public_names_only(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not list(imports(tree)), "a recipe says `import tlkit` and no more"
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "tlkit"
    }
    assert used <= set(tlkit.__all__)


BENCHMARKS = sorted((PACKAGE.parent / "benchmarks").rglob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_reads_no_private_name(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [what for _, what in private(tree, module_aliases(tree))]
