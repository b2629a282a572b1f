"""Recipe files: a training run written down as a short Python file that runs as it stands.

The settings are one literal dict near the top, `SETTINGS`, so a program reads them without running
the file and a person edits them without learning a format. `python winner.py` trains; so does
`tlkit finetune --plan winner.py`.
"""

import ast
import dataclasses
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkit import files
from tlkit.errors import TlkitError, unknown
from tlkit.phases.phase import Phase

# What a recipe may say, and what holds where it says nothing. `data` are further arguments of
# `load_images`; `phases` is None for the plan `fine_tune` makes by itself.
KEYS: dict[str, Any] = {
    "source": None,
    "data": {},
    "backbone": "mobilenet_v2",
    "weights": "imagenet",
    "size": None,
    "resize": "crop",
    "channels": 3,
    "head": {},
    "replace_from": None,
    "phases": None,
    "seed": 0,
}
_CODE = """

def main():
    import tlkit

    tlkit.run_recipe(SETTINGS, __doc__)


if __name__ == "__main__":
    main()
"""


def write(
    path: str | os.PathLike[str],
    recipe: Mapping[str, Any],
    notes: Mapping[str, str] | None = None,
    title: str = "Settings for one training run.",
) -> None:
    """Writes `recipe` as a Python file that trains when it is run, atomically.

    Args:
        recipe: Keys of `KEYS`. A `Head` or `Phase` may stand for its dict; of a phase only what
            differs from the defaults is written.
        notes: A reason by key, or by `phase name.field`, put as a comment above its line.
        title: First line of the file's docstring.

    Raises:
        TlkitError: An unknown key, or a value that is no Python literal.
    """
    settings = {key: _plain(value) for key, value in recipe.items()}
    _check(settings, "The recipe")
    name = Path(path).name
    lines = ['"""' + _quoted(title), "", f"    python {name}", f"    tlkit finetune --plan {name}"]
    lines += ['"""', "", "SETTINGS = {", *_entries(settings, dict(notes or {})), "}"]
    files.write_text(path, "\n".join(lines) + "\n" + _CODE)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the settings of a recipe file, with the default of every key it leaves out.

    The file is parsed, never run, so a recipe from elsewhere can be looked at safely.

    Raises:
        TlkitError: No such file, no literal `SETTINGS` in it, or an unknown key.
    """
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise TlkitError(f"Cannot read the recipe {path}: {error}.") from error
    found = [node.value for node in tree.body if _assigns(node, "SETTINGS")]  # type: ignore
    if not found:
        raise TlkitError(f"{path} is no recipe: it has no line `SETTINGS = {{...}}`.")
    try:
        settings = ast.literal_eval(found[-1])
    except ValueError as error:
        raise TlkitError(f"{path}: SETTINGS must be plain values, not code ({error}).") from error
    _check(settings, str(path))
    return {**KEYS, **settings}


def phases_in(settings: Mapping[str, Any]) -> tuple[Phase, ...] | None:
    """Returns the phases a recipe describes, or None where it leaves them to `fine_tune`."""
    if settings.get("phases") is None:
        return None
    known = {field.name for field in dataclasses.fields(Phase)}
    for phase in settings["phases"]:
        for name in phase.keys() - known:
            raise unknown("field of a phase", name, known)
    return tuple(Phase(**phase) for phase in settings["phases"])


def describe_phase(phase: Phase) -> dict[str, Any]:
    """Returns the name of a phase and those of its fields that differ from the defaults."""
    values = {"name": phase.name}
    for field in dataclasses.fields(phase):
        value = getattr(phase, field.name)
        if field.name != "name" and value != _default(field):
            values[field.name] = value
    return values


def _default(field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _plain(value: Any) -> Any:
    """Returns heads and phases as dicts, paths as text, all else as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, Phase):
            return describe_phase(value)
        return dataclasses.asdict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _check(settings: Any, where: str) -> None:
    if not isinstance(settings, dict):
        raise TlkitError(f"{where}: SETTINGS must be a dict, not {type(settings).__name__}.")
    for key, value in settings.items():
        if key not in KEYS:
            raise unknown(f"setting in {where}", key, KEYS)
        if not _is_literal(value):
            raise TlkitError(f"{where}: {key} = {value!r} cannot be written as a plain value.")


def _is_literal(value: Any) -> bool:
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError):
        return False


def _assigns(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _entries(settings: Mapping[str, Any], notes: dict[str, str]) -> list[str]:
    lines = []
    for key, value in settings.items():
        lines += _note(notes.get(key), 4)
        if key == "phases" and value is not None:
            lines += ["    'phases': [", *_phases(value, notes), "    ],"]
        else:
            lines.append(f"    {key!r}: {value!r},")
    return [line.replace("'", '"') if _safe(line) else line for line in lines]


def _phases(phases: Sequence[Mapping[str, Any]], notes: dict[str, str]) -> list[str]:
    lines = []
    for phase in phases:
        lines.append("        {")
        for field, value in phase.items():
            lines += _note(notes.get(f"{phase.get('name')}.{field}"), 12)
            lines.append(f"            {field!r}: {value!r},")
        lines.append("        },")
    return lines


def _safe(line: str) -> bool:
    """Says whether quotes of the other kind mean the same: a line of code without either inside."""
    return not line.lstrip().startswith("#") and '"' not in line and "\\" not in line


def _note(text: str | None, indent: int) -> list[str]:
    lines = textwrap.wrap(_one_line(text or ""), 96 - indent)
    return [f"{' ' * indent}# {line}" for line in lines]


def _quoted(text: str) -> str:
    return _one_line(text).replace("\\", "/").replace('"', "'")


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
