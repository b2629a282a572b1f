"""The command line as a user meets it: help, suggestions, exit codes, lists."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.command_line import TINY, options_of, tlkit
from tlkit.cli import main
from tlkit.images import pixels
from tlkit.models import heads
from tlkit.tuning import proposals

COMMANDS = main.list_commands(None)


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_every_option_does_and_its_default(command):
    shown = _flat(tlkit(command, "--help").stdout)
    for option in options_of(command):
        assert option.opts[0] in shown and option.help and _flat(option.help) in shown
        usual = option.default
        if isinstance(usual, str | int | float) and not option.is_flag:
            assert f"[default: {usual}" in shown, f"{option.opts[0]} hides that it is {usual}"


def _flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("command", "option", "table", "names"),
    [
        ("finetune", "--resize", pixels.RESIZE, "crop, pad or squash."),
        ("search", "--resize", pixels.RESIZE, "crop, pad or squash."),
        ("finetune", "--head", heads.HEADS, "linear, mlp or concat_pool."),
        ("search", "--algorithm", proposals.ALGORITHMS, "random, bayesian, hyperband or grid."),
    ],
)
def test_help_names_the_choices_there_are(command, option, table, names):
    (found,) = [one for one in options_of(command) if one.opts[0] == option]
    assert found.help == names and set(names.replace(" or", ",").strip(".").split(", ")) == {*table}


def test_help_lists_the_commands_in_the_order_of_the_work():
    shown = tlkit("-h").stdout.partition("Commands:")[2].split("\n")
    names = [line.split()[0] for line in shown if line.startswith("  ") and line[2] != " "]
    assert names == COMMANDS
    order = "check labels advise finetune search evaluate report export predict".split()
    assert [name for name in names if name in order] == order


def test_the_version_is_that_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    said = f"tlkit, version {project['project']['version']}\n"
    assert tlkit("--version").stdout == said
    command = [sys.executable, "-m", "tlkit", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == said


# Errors


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["finetun", "photos"], "Did you mean 'finetune'"),
        (["finetune", "no/such/folder"], "no/such/folder"),
        (["finetune"], "Say which images"),
        (["finetune", "--plan", "no/such/plan.py"], "Cannot read the recipe no/such/plan.py"),
        (["check", "no/such/folder"], "no/such/folder"),
        (["evaluate", "no/such/run"], "not a run folder"),
        (["report", "no/such/run"], "not a run folder"),
        (["export", "no/such/run", "x"], "holds no tlkit model"),
        (["predict", "no/such/model", "a.jpg"], "not a model that tlkit exported"),
        (["predict", "no/such/model"], "Missing argument 'IMAGES...'"),
        (["nets", "vgg-z"], "Did you mean"),
        (["finetune", "--resume", "no/such/run"], "not a run folder"),
    ],
)
def test_user_errors_exit_2_with_one_line(arguments, says):
    result = tlkit(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr and "Traceback" not in result.stderr and not result.stdout
    told = [line for line in result.stderr.splitlines() if line.startswith(("tlkit: ", "Error: "))]
    assert len(told) == 1


def test_a_fault_of_tlkit_is_not_told_as_the_user_s(monkeypatch):
    monkeypatch.setattr("tlkit.nets.table", lambda: 1 / 0)
    result = tlkit("nets")
    assert result.exit_code == 1 and isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--backbone", "mobilnet"], "Did you mean"),
        (["--resize", "corp"], "Did you mean 'crop'"),
        (["--unfreeze", "con2"], "Did you mean 'conv2'"),
        (["--replace-from", "con2"], "Did you mean 'conv2'"),
        (["--augment", "photo"], "Did you mean 'photos'"),
        (["--head", "linar"], "Did you mean 'linear'"),
        (["--engine", "constant"], "Did you mean 'constants'"),
        (["--weights", "gone.h5"], "gone.h5"),
        (["--channels", "2"], "1, 3 or 4 channels, not 2"),
        (["--max-minutes", "0.00001"], "too few"),
    ],
)
def test_wrong_options_are_named_before_anything_is_written(photos, tmp_path, options, says):
    words = (*TINY, "--epochs", "2", "--views", "1", *options)
    result = tlkit("finetune", photos, *words, "--out", tmp_path / "run")
    assert result.exit_code == 2 and says in result.stderr
    assert not (tmp_path / "run").exists()


# Lists


def test_backbones_are_listed_with_their_stages():
    found = json.loads(tlkit("backbones", "--json").stdout)
    assert {"name", "parameters", "size", "preprocessing", "stages"} <= set(found[0])
    (line,) = [text for text in tlkit("backbones").stdout.splitlines() if "mobilenet_v2 " in text]
    (row,) = [one for one in found if one["name"] == "mobilenet_v2"]
    assert line.split() == [
        "mobilenet_v2", f"{row['parameters']:,}", "224", "px", row["preprocessing"], *row["stages"]
    ]  # fmt: skip


def test_nets_are_listed_or_one_of_them_by_its_layers():
    found = json.loads(tlkit("nets", "--json").stdout)
    assert {"name", "year", "params", "trainable_params", "macs"} <= set(found[0])
    assert {row["name"] for row in found} > {"lenet-5", "vgg-d"}
    layers = json.loads(tlkit("nets", "lenet-caffe", "--json").stdout)
    assert sum(row["params"] for row in layers) == 431_080  # Caffe's LeNet
    names = [line.split()[0] for line in tlkit("nets", "lenet-caffe").stdout.splitlines()]
    assert [name for name in names if name.startswith("conv")] == ["conv1", "conv2"]
