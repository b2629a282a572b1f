"""Runs `tlkit` commands in this process, and stand-ins that note what a command asks for."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from click.testing import CliRunner, Result
from PIL import Image

from tlkit.advice import advise
from tlkit.augmentation import preview
from tlkit.cli import main
from tlkit.images import dataset, pictures, subset
from tlkit.inspection import neighbours
from tlkit.labels import check
from tlkit.pages import sheets
from tlkit.phases.phase import Phase
from tlkit.planning import budget
from tlkit.serving import saved_model
from tlkit.training import rate_finder
from tlkit.tuning import search as searching
from tlkit.tuning.result import SearchResult
from tlkit.workflows import demo, evaluating, fine_tuning, recipes, reports

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
        self.listen(dataset, "load_images", "data", lambda _: images)
        self.backbone = SimpleNamespace(weights="a file")
        network = SimpleNamespace(stages=("stem", "middle", "top"), backbone=self.backbone)
        self.listen(recipes, "classifier", "model", lambda _: network, self.network)
        self.training()
        self.judging()
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
        def estimated(given):
            limits = given["limits"]
            return {
                **self.plan(given["plan"], given), "minutes": limits.minutes,
                "memory": limits.memory, "out": "nowhere",
            }  # fmt: skip

        self.run = None  # what training returns
        stand_in(self.monkeypatch, fine_tuning, "fine_tune", self.trained)
        self.listen(budget, "fit", "job", lambda _: SimpleNamespace(lines=("cheap",)), estimated)
        advice = SimpleNamespace(phases=ADVISED)
        stand_in(self.monkeypatch, fine_tuning, "quick_advice", lambda _: advice)

    def trained(self, given):
        if Path(given["out"] or "").name == "head":  # of `lr-find`, before the climb
            self.update({"first.phases": given["phases"], "first.seed": given["seed"]})
            return None
        noted = {
            **self.plan(given["phases"], given), "minutes": given["max_minutes"],
            "memory": given["max_memory"], "out": given["out"],
        }  # fmt: skip
        self.update({f"job.{key}": value for key, value in noted.items()})
        self["only estimated"] = False
        return self.run

    def plan(self, phases, given):
        self["only estimated"] = True
        return {"plan": tuple(phases), "engine": given["store"].engine, "seed": given["seed"]}

    def judging(self):
        found = SimpleNamespace(values={"accuracy": 1.0})
        stand_in(self.monkeypatch, evaluating, "evaluate", lambda given: (
            self.update(run=given["run"], photos=given["images"]) or found))  # fmt: skip
        stand_in(self.monkeypatch, reports, "report", self.reported)

    def reported(self, given):
        if given["out"] is not None:
            return self.written(given["out"])
        if isinstance(given["result"], str):
            self["run"] = given["result"]
        return "page.html"

    def others(self):
        kept = lambda *names: lambda given: {name: given[name] for name in names}  # noqa: E731
        checked = SimpleNamespace(summary=lambda: "what was found")
        self.listen(check, "check_labels", "job", lambda _: checked,
                    kept("with_test", "rate", "seed"))  # fmt: skip
        paper = Image.new("RGB", (4, 4))
        self.listen(preview, "preview", "job", lambda given: (
            self.update(files=len(given["paths"])) or paper),
            kept("name", "strength", "views", "size", "seed"))  # fmt: skip
        advice = SimpleNamespace(numbers=lambda: {"plan": "cheap"})
        self.listen(advise, "advise", "job", lambda _: advice,
                    kept("backbones", "weights", "size", "minutes", "policy"))  # fmt: skip
        climb = SimpleNamespace(plot=self.written, suggestion=0.00123)
        self.listen(rate_finder, "lr_find", "job", lambda _: climb,
                    kept("phase", "rates", "steps", "seed"))  # fmt: skip
        self.listen(searching, "search", "job", lambda _: SearchResult(Path("study"), []),
                    self.search)  # fmt: skip
        self.listen(saved_model, "predict", "job", lambda _: ([], []),
                    lambda given: {**given, "paths": tuple(given["paths"])})  # fmt: skip
        self.listen(subset, "gather", "source", lambda _: SimpleNamespace(table=None),
                    kept("source", "max_bad"))  # fmt: skip
        self.listen(neighbours, "similar", "job", lambda _: [[]], kept("query", "top"))
        stand_in(self.monkeypatch, sheets, "write", lambda given: self.written(given["path"]))
        stand_in(self.monkeypatch, pictures, "rows_of", lambda _: [])
        stand_in(self.monkeypatch, pictures, "picture")
        self.listen(demo, "run_demo", "job")

    def written(self, path):
        self["written"] = str(path)
        return Path(path) / "page"

    def search(self, given):
        self.update({f"origin.{key}": value for key, value in given.pop("origin").items()})
        given["engine"] = given.pop("store").engine
        return {k: v for k, v in given.items() if k not in ("model", "data", "watch", "worker")}


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
