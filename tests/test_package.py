"""What `import tlkit` offers: its names, where they come from, and what importing leaves alone."""

import ast
import gc
import importlib
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import tlkit
from tests.command_line import tlkit as command_line
from tlkit import progress
from tlkit.cli import main


def typed_names():
    """Returns the module of each name as type checkers are told it."""
    tree = ast.parse(Path(tlkit.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {alias.asname: node.module for node in block.body for alias in node.names}


def test_type_checkers_are_told_the_names_there_are():
    assert set(typed_names()) == set(tlkit.__all__)


@pytest.mark.parametrize("name", tlkit.__all__)
def test_a_public_name_is_what_type_checkers_are_told(name):
    module = importlib.import_module(typed_names()[name])
    assert getattr(tlkit, name) is getattr(module, name)
    found = getattr(tlkit, name)
    assert found.__name__.rpartition(".")[2] == name and found.__doc__


def test_names_are_listed_before_they_are_used_and_others_are_refused():
    assert set(tlkit.__all__) <= set(dir(tlkit)) and "__version__" in dir(tlkit)
    with pytest.raises(AttributeError, match=r"module 'tlkit' has no attribute 'load_image'"):
        _ = tlkit.load_image


@pytest.mark.parametrize("on", [True, False])
def test_fetching_a_name_leaves_the_collector_as_it_was(on):
    was_on = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        _ = tlkit.Phase
        assert gc.isenabled() == on
    finally:
        (gc.enable if was_on else gc.disable)()


@pytest.mark.parametrize(("given", "found"), [(None, "3"), ("1", "1")])
def test_the_command_line_quietens_tensorflow_unless_told_otherwise(given, found):
    level = "TF_CPP_MIN_LOG_LEVEL"
    place = {key: value for key, value in os.environ.items() if key != level}
    script = f"import tlkit.cli, os; print(os.environ[{level!r}])"
    done = subprocess.run(
        [sys.executable, "-c", script], env=place | ({level: given} if given else {}),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == found


def test_only_the_start_of_a_command_is_silent(capfd):
    # The descriptor itself, since TensorFlow writes past Python's standard error.
    opened = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    assert command_line("nets").exit_code == 0
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"
    assert not opened or len(os.listdir("/proc/self/fd")) == opened


def test_a_command_is_silenced_while_tensorflow_starts(capfd, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf, "constant", lambda _: os.write(2, b"chatter"))
    assert command_line("nets").exit_code == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("error", "code", "says"), [
    (tlkit.TlkitError("Mend this."), 2, "tlkit: Mend this.\n"),
    (KeyboardInterrupt(), 130, "tlkit: interrupted; finished epochs are kept, see --resume\n"),
    (click.UsageError("Say which."), 2, "Say which.\n"),
])  # fmt: skip
def test_exit_codes_say_who_has_to_act(monkeypatch, error, code, says):
    def failing():
        raise error

    monkeypatch.setattr("tlkit.nets.table", failing)
    result = command_line("nets")
    assert result.exit_code == code and result.stderr.endswith(says) and not result.stdout


def test_check_tells_the_story_once(tmp_path, monkeypatch):
    from tests.conftest import write_pictures
    from tlkit.images import dataset

    real = dataset.load_images
    monkeypatch.setattr(
        dataset, "load_images", lambda *a, **k: (progress.say("noise"), real(*a, **k))[1]
    )
    result = command_line("check", write_pictures(tmp_path, 8))
    assert result.exit_code == 0 and not result.stderr
    assert result.stdout.count("3 classes") == 1


def test_every_command_is_found_by_its_name_alone():
    for name in main.list_commands(None):
        command = main.get_command(None, name)
        assert command.name == name and command.help
    assert main.get_command(None, "finetun") is None
