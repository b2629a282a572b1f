"""Recipes run as written, say what they measured, and compare the way they claim to.

The smoke run of every recipe is marked `large`; one of them runs here, and is looked at closely.
"""

import ast
import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tlkit
from tests.conftest import write_pictures

ROOT = Path(__file__).parent.parent
SHARED = "comparison"  # not a recipe: what they share
# What a smoke test must print at the least: a number where the recipe reports its result.
RESULTS = {
    "digits": r"Transfer against scratch: [+-]\d+\.\d \(",
    "folder": r"accuracy +\d+\.\d",
    "flowers": r"fine-tuned against scratch: [+-]\d+\.\d \(",
    "lenet_ladder": r"cnn above mlp: [+-]\d+\.\d \(",
    "cifar_architectures": r"maxpool-dropout above maxpool-dropout-dense: [+-]\d+\.\d \(",
    "shift_invariance": r"dense +1: 0\.\d",
    "transferability": r"near AnB\+, n = 2 above B, n = 0: [+-]\d+\.\d \(",
}
ROOMS = {"digits": "datasets", "folder": "datasets", "flowers": "datasets"}  # the rest: lectures
PLOTTED = ("lenet_ladder", "cifar_architectures", "shift_invariance", "transferability")


def _path(name: str) -> str:
    """Returns where a recipe lies, seen from the project."""
    return f"recipes/{ROOMS.get(name, 'lectures')}/{name}.py"


def _source(name: str) -> str:
    return (ROOT / _path(name)).read_text()


def _run(name: str, folder: Path, home: Path, *options: str) -> str:
    command = [sys.executable, str(ROOT / _path(name)), "--quick", *options]
    place = {"TLKIT_HOME": str(home), "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | place, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_recipe_is_known_here():
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "recipes").rglob("*.py")}
    assert found == {_path(name) for name in (*RESULTS, SHARED)}


def test_flowers_compares_three_ways_on_the_same_test_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--quick", "--data", str(write_pictures(tmp_path / "pictures", 12)), "--out", "runs"]
    monkeypatch.setattr(sys, "argv", ["flowers.py", *words])
    runpy.run_path(str(ROOT / _path("flowers")), run_name="__main__")
    said = capsys.readouterr().out
    ways = {
        "head only": [None], "fine-tuned": [None, "f6"], "scratch": ["all"],
    }  # fmt: skip
    shares = {}
    for way, unfrozen in ways.items():
        folder = tmp_path / "runs" / way.replace(" ", "-")
        run = json.loads((folder / "run.json").read_text())
        assert [phase["unfreeze"] for phase in run["phases"]] == unfrozen
        kept = json.loads((folder / "metrics.json").read_text())["test"]
        shares[way] = 100 * kept["accuracy"]["value"]
        part = said[said.index(f"\n{way}, ") :]
        assert f"{kept['n']} images, 3 classes" in part.split("\n\n")[0]
        assert f"{shares[way]:.1f} %" in part.partition("balanced")[0]
        assert (folder / "report.html").exists()
    for other in ("head only", "scratch"):
        told = float(re.search(rf"fine-tuned against {other}: ([+-]\d+\.\d) \(", said)[1])
        assert told == pytest.approx(shares["fine-tuned"] - shares[other], abs=0.06)


@pytest.mark.large
@pytest.mark.parametrize("name", RESULTS)
def test_smoke_run_gives_a_result(name, tmp_path, private_home):
    options = ()
    if name == "flowers":
        options = ("--data", str(write_pictures(tmp_path / "pictures", 12)))
    said = _run(name, tmp_path, private_home, *options)
    assert re.search(RESULTS[name], said), said
    assert "nan" not in re.findall(r"\w+", said)
    assert all(float(share) <= 100 for share in re.findall(r"(\d+\.\d) ?%", said)), said
    plots = [tmp_path / path for path in re.findall(r"^Plot: (.+)$", said, re.MULTILINE)]
    assert bool(plots) == (name in PLOTTED)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in plots)


@pytest.mark.parametrize("name", RESULTS)
def test_docstring_has_command_and_result(name):
    text = ast.get_docstring(ast.parse(_source(name)))
    assert f"    python {_path(name)}" in text
    assert "RESULT" not in text
    assert re.search(r"\d(\.\d+)? %|\d\.\d+ \(", text), "no measured number"
    declared = _source(name) + _source(SHARED)
    for option in re.findall(r"(?<=\s)--\w[\w-]*", text):
        assert f'"{option}"' in declared, f"{option} is no option"


@pytest.mark.parametrize("name", [*RESULTS, SHARED])
def test_every_option_of_a_recipe_is_explained(name):
    calls = [node for node in ast.walk(ast.parse(_source(name))) if isinstance(node, ast.Call)]
    options = [call for call in calls if ast.unparse(call.func).endswith(".add_argument")]
    assert options
    for call in options:
        words = [keyword.value for keyword in call.keywords if keyword.arg == "help"]
        assert words and ast.unparse(words[0]).strip("'"), ast.unparse(call.args[0])


@pytest.fixture(scope="module")
def comparison():
    spec = importlib.util.spec_from_file_location(SHARED, ROOT / _path(SHARED))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_interval_of_one_seed_is_that_of_a_mean(comparison):
    values = np.random.default_rng(1).random((1, 400)) < 0.8
    mean, low, high = comparison.interval(values)
    assert mean == values.mean()
    reach = 1.96 * values.std() / 20
    np.testing.assert_allclose([mean - low, high - mean], reach, rtol=0.15)


def test_interval_widens_where_seeds_disagree(comparison):
    draw = np.random.default_rng(2)
    alike = np.stack([draw.random(400) < 0.8 for _ in range(3)])
    apart = np.stack([draw.random(400) < share for share in (0.7, 0.8, 0.9)])
    width = [np.ptp(comparison.interval(values)[1:]) for values in (alike, apart)]
    assert width[1] > 2 * width[0]


def test_few_takes_what_was_asked_for_and_keeps_tests_apart(comparison):
    x = np.random.default_rng(3).integers(0, 255, (60, 6, 6), np.uint8)
    rows = tlkit.from_arrays(x, np.repeat(["a", "b", "c"], 20))
    data = comparison.few(rows, 10, 5, ("c", "a"))
    assert data.class_names == ("c", "a")
    assert [len(part) for part in (data.train, data.val, data.test)] == [16, 4, 10]
    for part in (data.train, data.val, data.test):
        assert all(
            row // 20 == (2, 0)[label] for row, label in zip(_rows(part), part.labels, strict=True)
        )
    again = comparison.few(rows, 10, 5, ("c", "a"))
    assert _rows(data.train) == _rows(again.train)
    assert not set(_rows(data.test)) & {*_rows(data.train), *_rows(data.val)}


def _rows(images) -> list[int]:
    return list(images.table.items)
