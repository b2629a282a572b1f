"""Every option of every command changes what it says it changes, and nothing else.

Each command is run with stand-ins for the public functions that it calls. They note what they were
asked for; the notes without any option are written down here by hand, and so is what each option
changes in them.
"""

import dataclasses
from pathlib import Path

import pytest

from tests.command_line import ADVISED, NAMES, asked, options_of, prepared
from tlkit.cli import main
from tlkit.phases.phase import Phase

HEAD = Phase("head", epochs=40, rate=3e-3, patience=6)
TAIL = Phase("fine-tune", unfreeze="top", epochs=12, rate=3e-4, patience=5)


def plan(head=None, tail=None, **both):
    """The default phases of a pretrained network, with changes."""
    head, tail = ({**(changes or {}), **both} for changes in (head, tail))
    return {"job.plan": (dataclasses.replace(HEAD, **head), dataclasses.replace(TAIL, **tail))}


# What the stand-ins are asked for where no option is given.
DATA = {
    "data.source": "photos", "data.labels": None, "data.test": None, "data.val_share": 0.15,
    "data.test_share": 0.15, "data.max_bad": 0.05, "data.data_dir": None, "data.seed": 0,
    "data.cache": True,
}  # fmt: skip
MODEL = {
    "model.backbone": "mobilenet_v2", "model.weights": "imagenet", "model.size": None,
    "model.names": NAMES,
}  # fmt: skip
FINETUNE_MODEL = {
    **MODEL, "model.resize": "crop", "model.channels": 3, "model.head": {"kind": "linear"},
    "model.replace_from": None, "model.seed": 0, "model.source": None, "model.data": {},
    "model.phases": None,
}  # fmt: skip
USUAL = {
    "check": {**DATA, "exit": 0},
    "labels": {
        **DATA, **MODEL, "model.seed": 0, "exit": 0,
        "job.with_test": False, "job.rate": 0.01, "job.seed": 0, "written": "labels-photos",
    },
    "augment": {
        "files": 3, "job.name": "photos", "job.strength": 1.0, "job.views": 6, "job.size": 160,
        "job.seed": 0, "written": "augment-photos.png", "exit": 0,
    },
    "advise": {
        **DATA, "job.backbones": ["mobilenet_v2"], "job.weights": {}, "job.size": None,
        "job.minutes": 10.0, "job.policy": None, "json": False, "exit": 0,
    },
    "lr-find": {
        **DATA, **MODEL, "model.seed": 0, "first.phases": [HEAD], "first.seed": 0,
        "job.phase": TAIL, "job.rates": (1e-7, 1.0), "job.steps": 100, "job.seed": 0,
        "written": "lr_find.png", "exit": 0, "next": "tlkit finetune photos --rate 0.0012",
    },
    "finetune": {
        **DATA, **FINETUNE_MODEL, "job.plan": ADVISED, "job.minutes": None, "job.memory": None,
        "job.engine": "constants", "job.seed": 0, "job.out": None, "only estimated": False,
        "exit": 0,
    },
    "search": {
        **DATA, **MODEL, "model.resize": "crop", "model.seed": 0, "job.minutes": 20.0,
        "job.trials": None, "job.space": None, "job.algorithm": "bayesian", "job.seed": 0,
        "job.out": None, "job.images": 1000, "job.finalists": 3, "job.repeats": 3,
        "job.memory": None, "job.engine": "constants", "exit": 0,
        "origin.backbone": "mobilenet_v2", "origin.weights": "imagenet", "origin.size": None,
        "origin.resize": "crop", "origin.seed": 0,
    },
    "evaluate": {"run": "runs/a", "photos": None, "json": False, "exit": 0},
    "report": {"run": "runs/a", "exit": 0},
    "predict": {
        "job.folder": "model", "job.paths": ("a.jpg", "b.png"), "job.top": 3, "json": False,
        "exit": 0,
    },
    "similar": {
        **MODEL, "model.names": ("some", "other"),
        "job.query": "a.jpg", "job.top": 5, "source.source": "photos", "source.max_bad": 0.05,
        "json": False, "exit": 0,
    },
    "backbones": {"json": False, "exit": 0},
    "nets": {"json": False, "exit": 0},
    "demo": {"job.out": Path("runs/demo"), "job.quick": False, "exit": 0},
}  # fmt: skip

# What each option changes: the words given, and the notes that differ then.
READING = {
    "--test": ("more", {"data.test": "more"}),
    "--val-share": (0.25, {"data.val_share": 0.25}),
    "--test-share": (0.35, {"data.test_share": 0.35}),
    "--max-bad": (0.45, {"data.max_bad": 0.45}),
    "--data-dir": ("tfds", {"data.data_dir": "tfds"}),
    "--seed": (7, {"data.seed": 7}),
}
NETWORK = {
    "--backbone": ("resnet50", {"model.backbone": "resnet50"}),
    "--weights": ("none", {"model.weights": None}),
    "--size": (96, {"model.size": 96}),
}
ENGINE = ("auto", {"job.engine": "auto"})
AS_JSON = (None, {"json": True})
EFFECTS = {
    "check": READING,
    "labels": {
        **READING, **NETWORK,
        "--rate": (0.5, {"job.rate": 0.5}),
        "--with-test": (None, {"job.with_test": True}),
        "--out": ("there", {"written": "there"}),
        "--seed": (7, {"data.seed": 7, "model.seed": 7, "job.seed": 7}),
    },
    "augment": {
        "--policy": ("xray", {"job.name": "xray", "written": "augment-xray.png"}),
        "--strength": (0.5, {"job.strength": 0.5}),
        "--out": ("sheet.png", {"written": "sheet.png"}),
        "--views": (2, {"job.views": 2}),
        "--images": (1, {"files": 1}),
        "--size": (24, {"job.size": 24}),
        "--seed": (7, {"job.seed": 7}),
    },
    "advise": {
        **READING,
        "--backbones": ("vgg16, resnet50,", {"job.backbones": ["vgg16", "resnet50"]}),
        "--weights": ("vgg16=none", {"job.weights": {"vgg16": None}}),
        "--size": (96, {"job.size": 96}),
        "--minutes": (2.5, {"job.minutes": 2.5}),
        "--augment": ("flip", {"job.policy": "flip"}),
        "--out": ("advice", {"written": "advice"}),
        "--json": AS_JSON,
    },
    "lr-find": {
        **{
            option: (
                value,
                {**notes, "next": f"tlkit finetune photos {option} {value} --rate 0.0012"},
            )
            for option, (value, notes) in {**READING, **NETWORK}.items()
        },
        "--seed": (7, {
            "data.seed": 7, "model.seed": 7, "first.seed": 7, "job.seed": 7,
            "next": "tlkit finetune photos --seed 7 --rate 0.0012",
        }),
        "--unfreeze": ("middle", {
            "job.phase": dataclasses.replace(TAIL, unfreeze="middle"),
            "next": "tlkit finetune photos --unfreeze middle --rate 0.0012",
        }),
        "--steps": (50, {"job.steps": 50}),
        "--out": ("curve.svg", {"written": "curve.svg"}),
    },
    "finetune": {
        **READING, **NETWORK,
        "--out": ("runs/a", {"job.out": "runs/a"}),
        "--resize": ("pad", {"model.resize": "pad"}),
        "--channels": (4, {"model.channels": 4}),
        "--head": ("mlp", {"model.head": {"kind": "mlp"}}),
        "--unfreeze": ("middle", plan(tail={"unfreeze": "middle"})),
        "--replace-from": ("top", {"model.replace_from": "top"}),
        "--head-epochs": (5, plan(head={"epochs": 5})),
        "--epochs": (5, plan(tail={"epochs": 5})),
        "--rate": (0.02, plan(tail={"rate": 0.02})),
        "--augment": ("flip", plan(augment="flip")),
        "--strength": (0.5, plan(strength=0.5)),
        "--views": (2, plan(views=2)),
        "--batch-size": (8, plan(batch_size=8)),
        "--set": ("optimizer=sgd", {
            "job.plan": tuple(dataclasses.replace(phase, optimizer="sgd") for phase in ADVISED),
        }),
        "--engine": ENGINE,
        "--estimate": (None, {"only estimated": True, "job.out": "nowhere"}),
        "--max-minutes": (7.5, {"job.minutes": 7.5}),
        "--max-memory": (1.5, {"job.memory": 1.5}),
        "--seed": (7, {"data.seed": 7, "model.seed": 7, "job.seed": 7}),
    },
    "search": {
        **READING,
        **{
            option: (value, {**notes, **{
                key.replace("model", "origin"): note for key, note in notes.items()
            }})
            for option, (value, notes) in
            {**NETWORK, "--resize": ("pad", {"model.resize": "pad"})}.items()
        },
        "--minutes": (3.5, {"job.minutes": 3.5}),
        "--trials": (4, {"job.trials": 4}),
        "--space": ("space.toml", {"job.space": "space.toml"}),
        "--algorithm": ("grid", {"job.algorithm": "grid"}),
        "--out": ("there", {"job.out": "there"}),
        "--images": (300, {"job.images": 300}),
        "--finalists": (2, {"job.finalists": 2}),
        "--repeats": (5, {"job.repeats": 5}),
        "--memory": (900, {"job.memory": 900.0}),
        "--engine": ENGINE,
        "--seed": (7, {"data.seed": 7, "model.seed": 7, "origin.seed": 7, "job.seed": 7}),
    },
    "evaluate": {"--json": AS_JSON},
    "report": {},
    "predict": {"--top": (1, {"job.top": 1}), "--json": AS_JSON},
    "similar": {
        **NETWORK,
        "--top": (2, {"job.top": 2}),
        "--out": ("sheet.png", {"written": "sheet.png"}),
        "--json": AS_JSON,
    },
    "backbones": {"--json": AS_JSON},
    "nets": {"--json": AS_JSON},
    "demo": {
        "--out": ("there", {"job.out": Path("there")}),
        "--quick": (None, {"job.quick": True}),
    },
}  # fmt: skip
# Options that turn a command into another one; each has a test of its own below.
OTHERWISE = {("finetune", "--resume"), ("finetune", "--plan"), ("labels", "--accept")}
CASES = [(name, option) for name, options in EFFECTS.items() for option in options]


@pytest.fixture
def notes(monkeypatch, tmp_path):
    return prepared(monkeypatch, tmp_path)


def test_every_option_of_every_command_is_in_the_table():
    listed = {*CASES, *OTHERWISE}
    commands = main.list_commands(None)
    assert len(commands) > 10
    there = {(name, one.opts[0]) for name in commands for one in options_of(name)}
    assert there == listed
    assert set(commands) - {"export"} == set(USUAL) == set(EFFECTS)  # export takes no option


@pytest.mark.parametrize("command", USUAL)
def test_without_options_a_command_asks_for_what_is_usual(notes, command):
    assert asked(notes, command) == USUAL[command]


@pytest.mark.parametrize(("command", "option"), CASES, ids=[" ".join(case) for case in CASES])
def test_an_option_changes_what_it_says_and_nothing_else(notes, command, option):
    value, changed = EFFECTS[command][option]
    words = [option] if value is None else [option, value]
    assert asked(notes, command, *words) == {**USUAL[command], **changed}
