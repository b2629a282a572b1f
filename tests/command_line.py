"""Runs `tlkit` commands in this process, and stand-ins that note what a command asks for."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from click.testing import CliRunner, Result
from PIL import Image

from tlkit.advice import advise, lines
from tlkit.augmentation import preview
from tlkit.cli import main
from tlkit.images import dataset as data
from tlkit.inspection import neighbours
from tlkit.labels import check
from tlkit.pages import sheets
from tlkit.phases import recipe_format
from tlkit.phases.phase import Phase
from tlkit.planning import budget
from tlkit.serving import saved_model
from tlkit.training import rate_finder
from tlkit.training.run import Run
from tlkit.tuning import search as searching
from tlkit.tuning.result import SearchResult
from tlkit.workflows import demo

NAMES = ("red", "blue", "green")  # as a data set may give them
ADVISED = (Phase("head", epochs=77), Phase("advised", unfreeze="middle"))
ARGUMENTS = {
    "augment": ("photos",), "evaluate": ("runs/a",), "report": ("runs/a",),
    "predict": ("model", "a.jpg", "b.png"), "similar": ("a.jpg", "photos"),
    "backbones": (), "nets": (), "demo": (),
}  # fmt: skip
TINY = ("--backbone", "lenet-caffe", "--weights", "none", "--size", "28")


def tlkit(*arguments: Any) -> Result:
    """Runs one command; standard output and standard error are apart in the result."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def options_of(command: str) -> list:
    """Returns the options of a command, its arguments left out."""
    found = main.get_command(None, command)
    return [parameter for parameter in found.params if parameter.param_type_name == "option"]


def stand_in(
    monkeypatch, owner: Any, name: str, answer: Callable[[dict[str, Any]], Any] | None = None
) -> list[dict[str, Any]]:
    """Puts a stand-in in the place of a public function; returns the list of what it was given.

    Arguments are noted by the name they have in the real function, defaults included, so it does
    not matter whether a command gives them by name or by position, and swapped ones show.
    """
    real, asked = getattr(owner, name), []

    def noted(*arguments, **named):
        bound = inspect.signature(real).bind(*arguments, **named)
        bound.apply_defaults()
        given = dict(bound.arguments)
        for parameter in inspect.signature(real).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                given |= given.pop(parameter.name)
        asked.append(given)
        return answer(given) if answer else None

    noted.__signature__ = inspect.signature(real)  # another stand-in may come on top
    monkeypatch.setattr(owner, name, noted)
    return asked


class Notes(dict):
    """What the stand-ins of all commands were asked for, by `who.argument`."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.monkeypatch = monkeypatch
        images = SimpleNamespace(class_names=NAMES, summary=lambda: "what was found", quarantine=[])
        self.listen(data, "load_images", "data", lambda _: images)
        self.backbone = SimpleNamespace(weights="a file")
        network = SimpleNamespace(stages=("stem", "middle", "top"), backbone=self.backbone)
        network.fine_tune = lambda data, phases, out, seed: self.update(
            {"first.phases": phases, "first.seed": seed}
        )
        self.listen(recipe_format, "classifier", "model", lambda _: network, self.network)
        self.training()
        self.others()

    def listen(self, owner, name, who, answer=None, noted=None):
        """Notes every argument of a public function, or what `noted` makes of them."""

        def heard(given):
            found = noted(given) if noted else given
            self.update({f"{who}.{key}": value for key, value in found.items()})
            return answer(given) if answer else None

        stand_in(self.monkeypatch, owner, name, heard)

    def network(self, given):
        return {**given["settings"], "names": tuple(given["class_names"])}

    def training(self):
        def asked(given):
            self["only estimated"] = "out" not in given
            return {
                "plan": tuple(given["plan"]), "minutes": given["limits"].minutes,
                "memory": given["limits"].memory, "engine": given["store"].engine,
                "seed": given["seed"], "out": given.get("out", "nowhere"),
            }  # fmt: skip

        self.run = None  # what training returns
        self.listen(budget, "fine_tune", "job", lambda _: self.run, asked)
        self.listen(budget, "fit", "job", lambda _: SimpleNamespace(lines=("cheap",)), asked)
        stand_in(
            self.monkeypatch, advise, "quick_advice", lambda _: SimpleNamespace(phases=ADVISED)
        )

    def others(self):
        kept = lambda *names: lambda given: {name: given[name] for name in names}  # noqa: E731
        checked = SimpleNamespace(write=self.written, summary=lambda: "what was found")
        self.listen(check, "check_labels", "job", lambda _: checked,
                    kept("with_test", "rate", "seed"))  # fmt: skip
        paper = Image.new("RGB", (4, 4))
        self.listen(preview, "preview", "job", lambda given: (
            self.update(files=len(given["paths"])) or paper),
            kept("name", "strength", "views", "size", "seed"))  # fmt: skip
        self.listen(advise, "advise", "job", lambda _: SimpleNamespace(write=self.written),
                    kept("backbones", "weights", "size", "minutes", "policy"))  # fmt: skip
        stand_in(self.monkeypatch, lines, "numbers", lambda _: {"plan": "cheap"})
        climb = SimpleNamespace(plot=self.written, suggestion=0.00123)
        self.listen(rate_finder, "lr_find", "job", lambda _: climb,
                    kept("phase", "rates", "steps", "seed"))  # fmt: skip
        self.listen(searching, "search", "job", lambda _: SearchResult(Path("study"), []),
                    self.search)  # fmt: skip
        self.monkeypatch.setattr(Run, "open", self.opened)
        self.listen(saved_model, "predict", "job", lambda _: ([], []),
                    lambda given: {**given, "paths": tuple(given["paths"])})  # fmt: skip
        self.listen(neighbours, "gather", "source", lambda _: SimpleNamespace(table=None),
                    kept("source", "max_bad"))  # fmt: skip
        self.listen(neighbours, "similar", "job", lambda _: [[]], kept("query", "top"))
        stand_in(self.monkeypatch, sheets, "write", lambda given: self.written(given["path"]))
        stand_in(self.monkeypatch, sheets, "rows_of", lambda _: [])
        stand_in(self.monkeypatch, sheets, "picture")
        self.listen(demo, "run_demo", "job")

    def written(self, path):
        self["written"] = str(path)
        return Path(path) / "page"

    def search(self, given):
        self.update({f"origin.{key}": value for key, value in given.pop("origin").items()})
        given["engine"] = given.pop("store").engine
        return {k: v for k, v in given.items() if k not in ("model", "data", "watch")}

    def opened(self, folder):
        self["run"] = str(folder)
        found = SimpleNamespace(values={"accuracy": 1.0})
        model = SimpleNamespace(class_names=NAMES)
        return SimpleNamespace(model=model, evaluate=lambda images, name: found, report=str)


def prepared(monkeypatch, folder: Path) -> "Notes":
    """Makes a few pictures in `folder`, goes there, and puts the stand-ins in place."""
    monkeypatch.chdir(folder)
    Path("photos").mkdir()
    for name in ("a.jpg", "photos/a.png", "photos/b.png", "photos/c.png"):
        Image.new("RGB", (4, 4)).save(name)
    return Notes(monkeypatch)


def asked(notes: "Notes", command: str, *words: Any, of: tuple[str, ...] | None = None) -> dict:
    """Runs a command and returns all that its stand-ins noted.

    Args:
        of: The arguments, where they are not the usual ones.
    """
    known = set(Path().iterdir())
    result = tlkit(command, *(ARGUMENTS.get(command, ("photos",)) if of is None else of), *words)
    assert result.exception is None, (result.output, result.exception)
    notes["exit"] = result.exit_code
    if any(option.name == "as_json" for option in options_of(command)):
        notes["json"] = _is_list(result.stdout)
    for line in result.output.splitlines():
        if line.startswith("Next: ") and command == "lr-find":
            notes["next"] = line.removeprefix("Next: ")
    for path in set(Path().iterdir()) - known:
        notes["written"] = str(path)
    return dict(notes)


def _is_list(text):
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False
