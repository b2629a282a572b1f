"""What README.md and docs/ show is run: every command, every block of code, every call in the text.

Blocks and commands are taken from the Markdown as it stands. Where something must stand in for what
is not here (ImageNet's weights, a network, minutes of search), one of the small tables below says
so. What is in no table is an error, so that nothing new is left out in silence.
"""

import ast
import inspect
import os
import re
import shlex
import tomllib
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import tlkit
from tests.command_line import TINY, options_of, stand_in
from tests.command_line import tlkit as command_line
from tests.conftest import write_pictures
from tests.test_imports import FLOORS
from tlkit.augmentation import apply, policies
from tlkit.cli import main
from tlkit.evaluation import metrics
from tlkit.models.classifier import Classifier
from tlkit.phases import schedules
from tlkit.phases.phase import Phase
from tlkit.serving import export
from tlkit.training.run import Run
from tlkit.tuning import distributed, search, searcher, space
from tlkit.tuning.result import SearchResult

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))

# How each block is dealt with, by its page and first line.
BLOCKS = {
    ("README.md", "make demo"): "make",
    ("README.md", "import tlkit"): "five lines",
    ("README.md", "tlkit check photos/"): "commands",
    ("README.md", "flowers: 1,497 images, 5 classes; train 847, val 150, test 500"): "output",
    ("README.md", "with tlkit.audited(my_keras_model):"): "audited",
    ("README.md", "from tlkit import Phase"): "phases",
    ("README.md", "make check"): "make",
    ("docs/augmentation.md", "tlkit augment photos/ --policy photos --strength 1 --out sheet.png"):
        "commands",
    ("docs/augmentation.md", "from tlkit.augmentation.policies import Change, POLICIES, Policy"):
        "policy",
    ("docs/search.md", "tlkit search photos/ --minutes 20"): "commands",
    ("docs/search.md", 'augment = "flip"'): "space",
    ("docs/search.md", "export KERASTUNER_ORACLE_IP=10.0.0.1 KERASTUNER_ORACLE_PORT=8000"):
        "machines",
    ("docs/design.md", "cli"): "floors",
    ("docs/reliability.md", "make faults"): "make",
}  # fmt: skip
# Words added to a command, since there are no pretrained weights here and little time.
SHORT = ("--set", "epochs=1", "--set", "views=1")
ADDED = {
    "labels": TINY, "search": TINY, "similar": TINY, "lr-find": (*TINY, "--steps", "12"),
    "advise": ("--backbones", "lenet-caffe", "--weights", "lenet-caffe=none", "--size", "28"),
    "finetune": (*TINY, *SHORT),
}  # fmt: skip
# The same for the blocks of Python: text of the page, and what is run in its place.
REPLACED = {
    "five lines": {'"mobilenet_v2", data.class_names':
                   '"lenet-caffe", data.class_names, weights=None, size=28'},
    "phases": {"stage4": "conv2", "stage5": "ip1", "=40": "=1", "=10": "=1"},
    "audited": {"...": "x, y, verbose=0"},
    "policy": {},
}  # fmt: skip
# Stand-ins: a search takes minutes and processes of its own, and tests/tuning/test_search.py runs
# one; the second proof of an export would tell no more than that of the five lines.

# Words that a command prints, and files that it leaves, seen from the folder it is run in.
LEAVES = {
    "tlkit check": ("3 classes", ()),
    "tlkit labels": ("labels are in doubt", ("labels-photos/labels.html",
                                             "labels-photos/worklist.csv")),
    "tlkit advise": ("Plan: ", ("advice/advised.py", "advice/advice.html", "advice/advice.json")),
    "tlkit finetune photos/ --backbone": ("", ("runs/photos/checkpoint.npz",)),
    "tlkit finetune --plan": ("Test images: ", ()),
    "tlkit finetune --resume": ("Report: runs/photos/report.html", ("runs/photos/report.html",)),
    "tlkit search": ("the chief goes on", ()),
    "tlkit evaluate": ("9 images, 3 classes", ()),
    "tlkit report": ("runs/photos/report.html", ()),
    "tlkit export": ("saved_models/photos", ("saved_models/photos/saved_model.pb",)),
    "tlkit predict": ('"file": "a.jpg"', ()),
    "tlkit similar": ("1.0000  red  red/", ()),
    "tlkit lr-find": ("Range test of phase", ("lr_find.png",)),
    "tlkit augment photos/ --policy textures": ("textures at", ("augment-textures.png",)),
    "tlkit augment photos/ --policy photos": ("photos at strength 1", ("sheet.png",)),
    "tlkit backbones": ("mobilenet_v2", ()),
    "tlkit nets": ("lenet-5", ()),
    "tlkit finetune photos/ --set": ("Test images: ", ()),
}  # fmt: skip
INTERRUPTED = "tlkit finetune photos/ --backbone"  # so that the next line has something to resume


class Block(NamedTuple):
    page: str
    text: str
    fenced: bool

    @property
    def first(self) -> str:
        return self.text.splitlines()[0].partition("  #")[0].strip()

    @property
    def kind(self) -> str | None:
        found = [kind for (page, first), kind in BLOCKS.items()
                 if page == self.page and self.first.startswith(first)]  # fmt: skip
        return found[0] if found else None


def parted(page):
    """Returns the blocks of a page, fenced or indented, and the text between them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = r"(?<=\n\n)(?: {4}.*\n(?:\n+(?= {4}))?)+"
    blocks = [Block(page, block, True) for block in fenced]
    for block in re.findall(indented, text):
        blocks.append(Block(page, re.sub("^ {4}", "", block, flags=re.MULTILINE), False))
    return blocks, re.sub(indented, "", text)


ALL = [block for page in PAGES for block in parted(page)[0]]
INLINE = [(page, " ".join(code.split())) for page in PAGES
          for code in re.findall(r"`([^`]+)`", parted(page)[1])]  # fmt: skip
SHOWN = [
    (block.page, line.partition("  #")[0].strip())
    for block in ALL
    for line in block.text.splitlines()
    if block.kind == "commands"
]
SHOWN += [(page, code) for page, code in INLINE if re.match(r"tlkit [\w-]+ [^-A-Z]", code)]
KEYS = [f"{page}: {text}" for page, text in SHOWN]
KEYS += [f"{block.page}: {block.kind}" for block in ALL if block.kind in REPLACED]


def test_every_block_is_dealt_with():
    assert all(block.kind for block in ALL), [block.first for block in ALL if not block.kind]
    assert len(ALL) == len(BLOCKS), "a row of BLOCKS is out of date"
    fences = sum((ROOT / page).read_text().count("\n```") for page in PAGES)
    assert fences == 2 * sum(block.fenced for block in ALL)
    assert len(SHOWN) > 18 and {page for page, _ in SHOWN} > {"docs/search.md", "docs/schedules.md"}


# Text


def test_make_has_the_targets_that_are_shown():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = "".join(block.text for block in ALL if block.kind == "make")
    shown = re.findall(r"^make ([\w-]+)", text, re.MULTILINE)
    hidden = {"clean"}
    assert set(shown) == set(targets) - hidden
    options = re.findall(r"FAULTS='?(--\w+)", text)
    runner = (ROOT / "tests" / "faults" / "__main__.py").read_text()
    assert options and all(f'"{option}"' in runner for option in options)


def test_the_output_that_is_shown_has_the_lines_of_today():
    (block,) = [block for block in ALL if block.kind == "output"]
    chances = np.random.default_rng(0).dirichlet(np.ones(5), 500)
    values = metrics.evaluate(chances, np.arange(500) % 5, list("abcde"), bootstrap=50)
    label = re.compile(r"^  (\D+?)  +\d")
    today, shown = (
        [found[1] for line in text.splitlines() if (found := label.match(line))]
        for text in (metrics.summary(values), block.text)
    )
    assert shown == today
    assert "In brackets: 95 % bootstrap interval, 1,000 resamples." in block.text


ELSEWHERE = {  # code of others, or names of ours without their arguments
    "base(x, training=False)", "model.export()", "(x, y)", "(pixels, hashes, labels)",
    "import tlkit; help(tlkit)",  # has a test of its own
}  # fmt: skip
NAMES = {
    "Phase": Phase, "Classifier": Classifier, "model": Classifier, "tlkit": tlkit,
    "apply": apply, "policies": policies, "hyperrule": schedules.hyperrule,
}  # fmt: skip
ROOMS = {path.parent.name for path in (ROOT / "tlkit").glob("*/__init__.py")}
BEHIND = {  # functions that hand their keywords on
    search.search: searcher.Options,
}  # fmt: skip
RUN_AS_SHOWN = (
    'policies.policy("photos", 0.5)',
    'Phase("head", schedule="step", schedule_options={"every": 5})',
    'Phase("bit", **hyperrule(5000)["phase"])',
)


@pytest.mark.parametrize("code", sorted({code for _, code in INLINE if "(" in code} - ELSEWHERE))
def test_a_call_in_the_text_is_possible(code):
    if code in RUN_AS_SHOWN:
        assert eval(code, dict(NAMES))
        return
    call = ast.parse(code.replace("(..., ", "("), mode="eval").body
    if ast.unparse(call.func) == "dataset.batch(64).map":
        _map(code)
        return
    function = eval(ast.unparse(call.func), dict(NAMES))
    known = inspect.signature(BEHIND.get(function, function)).parameters
    given = [keyword.arg for keyword in call.keywords]
    assert set(given) <= set(known), code
    assert len(call.args) <= len(inspect.signature(function).parameters)


def test_help_is_the_table_of_contents(capsys):
    assert ("README.md", "import tlkit; help(tlkit)") in INLINE
    help(tlkit)
    said = " ".join(capsys.readouterr().out.split())
    assert all(f"`{room}`" in said for room in ROOMS)


def test_the_floors_that_are_drawn_are_those_that_imports_keep_to():
    (block,) = [block for block in ALL if block.kind == "floors"]
    drawn = [" ".join(line.split()) for line in block.text.splitlines()]
    for line, rooms in zip(reversed(drawn), FLOORS[:-1], strict=True):
        assert f"{line} ".startswith(f"{rooms} ")


def _map(code):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 24, 24, 3)).astype(np.uint8)
    parts = (pixels, np.array(list("abcd")), np.arange(4))
    names = {"dataset": tf.data.Dataset.from_tensor_slices(parts), "apply": apply}
    mapped = eval(code, {**names, "policy": policies.policy("flip"), "view": 1})
    (batch,) = list(mapped)
    seen = apply.look(pixels, list("abcd"), policies.policy("flip"), 0, 1)
    np.testing.assert_array_equal(batch[0], np.rint(seen))


def test_options_and_commands_in_the_text_exist():
    known = {name: {one.opts[0] for one in options_of(name)} for name in main.list_commands(None)}
    every = set().union(*known.values())
    for page, code in INLINE:
        options = set(re.findall(r"(?<!\S)--[\w-]+", code))
        if code.startswith("tlkit "):
            name = code.split()[1]
            assert name in known and options <= known[name], (page, code)
        elif code.startswith("--"):
            assert options <= every, (page, code)
        elif code.startswith("python -m "):
            module = ROOT / Path(*code.split()[2].split("."))
            source = module.with_suffix(".py").read_text()
            assert all(f'"{option}"' in source for option in options), (page, code)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    shown = {
        extra for _, code in INLINE for extra in re.findall(r"pip install '\.\[(\w+)\]'", code)
    }
    assert shown and shown <= set(extras["optional-dependencies"])


# Run


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Runs everything in one folder with a few pictures; what came of it, by page and text."""
    folder, found = tmp_path_factory.mktemp("docs"), {}
    write_pictures(folder / "photos", 12)
    write_pictures(folder / "photos_test", 3, seed=1)
    for name, source in (("a.jpg", "red/0_0.png"), ("b.png", "blue/0_1.png")):
        (folder / name).write_bytes((folder / "photos" / source).read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TLKIT_HOME", str(folder / "home"))
        patch.setattr(policies, "POLICIES", policies.POLICIES.copy())
        names = {"my_keras_model": _net(), "x": np.ones((4, 2)), "y": np.ones((4, 1))}
        for block in (block for block in ALL if block.kind in REPLACED):
            found[f"{block.page}: {block.kind}"] = _executed(block, names)
        stand_in(patch, search, "search", lambda _: SearchResult(Path("study"), []))
        stand_in(patch, export, "export", lambda given: Path(given["folder"]))
        for page, text in SHOWN:
            found[f"{page}: {text}"] = _run(text)
    return folder, found, names


def _net():
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    net.compile("sgd", "mse")
    return net


def _executed(block, names):
    text = block.text
    for shown, run in REPLACED[block.kind].items():
        assert shown in text, f"{shown} is no longer in the block {block.first}"
        text = text.replace(shown, run)
    try:
        exec(compile(text, block.page, "exec"), names)
    except Exception as error:
        return error
    return None


def _run(text):
    name, *words = shlex.split(text)
    assert name == "tlkit", text
    with pytest.MonkeyPatch.context() as patch:
        if text.startswith(INTERRUPTED):
            patch.setattr(Run, "complete", _interrupt)
        added = SHORT if "--plan" in words else ADDED.get(words[0], ())  # a recipe says the rest
        result = command_line(*words, *added)
    expected = LEAVES.get(next((key for key in LEAVES if text.startswith(key)), ""), ("", ()))
    return result, [path for path in expected[1] if not Path(path).exists()]


def _interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("key", [f"{page}: {text}" for page, text in SHOWN])
def test_a_command_does_what_the_page_says(ran, key):
    text = key.partition(": ")[2]
    result, lacking = ran[1][key]
    assert result.exit_code == (130 if text.startswith(INTERRUPTED) else 0), result.output
    said, _ = next(row for start, row in LEAVES.items() if text.startswith(start))
    assert said in result.output and not lacking


@pytest.mark.parametrize("key", KEYS[len(SHOWN) :])
def test_a_block_of_python_runs(ran, key):
    if error := ran[1][key]:
        raise error


def test_the_five_lines_leave_a_run_and_an_export(ran):
    folder, _, names = ran
    run, *_ = sorted((folder / "runs").glob("photos-lenet-caffe*"))
    assert (run / "report.html").exists() and names["data"].class_names == ("blue", "green", "red")
    assert (folder / "saved_models" / "photos" / "assets.extra" / "labels.txt").exists()
    phases = [phase.name for phase in names["run"].phases]  # of the block with phases, by now
    assert phases == ["head", "last stage", "more"]
    assert [phase.unfreeze for phase in names["run"].phases] == [None, "ip1", "conv2"]


def test_the_run_that_was_resumed_is_finished(ran):
    run = Run.open(ran[0] / "runs" / "photos")
    assert run.finished and len(run.history) == 1


def test_a_policy_of_one_s_own_is_used(ran):
    policy = ran[2]["POLICIES"]["slides"]
    seen = apply.look(np.zeros((8, 40, 40, 3), np.uint8), list("abcdef01"), policy, 0, 0)
    corners = np.asarray(seen)[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners > 100).mean() > 0.5  # turned, with white where nothing was
    with pytest.raises(tlkit.TlkitError):
        policies.policy("slides")  # the fixture put the table back


def test_the_space_of_the_page_is_one(tmp_path):
    (block,) = [block for block in ALL if block.kind == "space"]
    (tmp_path / "space.toml").write_text(block.text)
    plan = (Phase("head"), Phase("fine-tune", unfreeze="top", augment="photos"))
    found = {row.name: row for row in space.load(
        tmp_path / "space.toml", space.default_space(plan, ("stem", "top"))).rows}  # fmt: skip
    shown = tomllib.loads(block.text)
    assert found["optimizer"].values == tuple(shown["optimizer"]["values"])
    assert (found["rate"].low, found["rate"].high) == (shown["rate"]["low"], shown["rate"]["high"])
    assert found["augment"].values == ("flip",)


def test_many_machines_are_told_apart(monkeypatch):
    (block,) = [block for block in ALL if block.kind == "machines"]
    exported, *lines = block.text.strip().splitlines()
    for pair in shlex.split(exported)[1:]:
        monkeypatch.setenv(*pair.split("="))
    roles = []
    for line in lines:
        variable, name, command, *words = shlex.split(line)
        monkeypatch.setenv(*variable.split("="))
        roles.append(distributed.role())
        assert name == "tlkit"
        main.get_command(None, command).make_context(command, words)  # it takes these words
    assert roles == ["chief", "worker", "worker"]
    assert set(distributed.ENVIRONMENT) <= set(os.environ)


def test_the_page_counts_the_backbones(ran):
    (line,) = [line for block in ALL for line in block.text.splitlines()
               if line.startswith("tlkit backbones")]  # fmt: skip
    result, _ = ran[1]["README.md: tlkit backbones"]
    assert int(re.search(r"# (\d+) ", line)[1]) == len(result.stdout.splitlines())


def test_a_backbone_of_one_s_own_is_taken_over_as_the_text_says(ran):
    assert ("README.md", 'Classifier("runs/photos", new_names)') in INLINE
    old, new = Classifier.load(ran[0] / "runs/photos"), ("x", "y", "z", "w")
    model = Classifier(ran[0] / "runs/photos", new)
    assert model.class_names == new and model.rule == old.rule
    for one, other in zip(model.backbone.net.weights, old.backbone.net.weights, strict=True):
        np.testing.assert_array_equal(one, other)
