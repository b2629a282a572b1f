"""The harness and its arithmetic; no time is asserted."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import advice_regret, contestants, floors, harness, images, results, works
from benchmarks.contestants import BASE, FAIR, Contestant
from benchmarks.worker import Clock, Job
from tlkit.errors import TlkitError

TINY = works.Work("T", "tiny", 24, 1, 1, size=64, backbone="mobilenet_v2_0.35", test=20)
CHEAP = """
import os
from pathlib import Path

def train(job, clock):
    clock.mark("imported")
    if job.options.get("fail"):
        raise RuntimeError("no luck today")
    seen = sorted(path.parent.name for path in Path(job.photos, "train").glob("*/*"))
    clock.notes["views"] = job.options["views"]
    clock.notes["seen"] = len(seen)
    clock.notes["shown"] = [p.name for p in Path(job.photos).glob("*") if "test" in p.name]
    clock.notes["setting"] = os.environ.get("CHEAP", "")
    clock.notes["fresh"] = not list(Path(os.environ["TLKIT_HOME"]).glob("*"))
    first = seen[0]
    return lambda files: [first for _ in files]
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cheap(tmp_path, monkeypatch):
    """Returns a maker of contestants that answer the first class to everything."""
    (tmp_path / "cheap_contestant.py").write_text(CHEAP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(name, **options):
        env = {"CHEAP": name}
        return Contestant(
            name, "cheap_contestant", "cheap", ("T",), ("T",),
            options={"views": 1, **options}, needs=(), env=env,
        )  # fmt: skip

    return make


def record(contestant, number, wall, cpu=1.0, work="T", **more):
    facts = {"work": work, "contestant": contestant, "round": number, "ok": True}
    facts |= {"wall": wall, "cpu": cpu, "peak_mb": 100.0, "right": 15, "judged": 20}
    return facts | {"marks": {}, "notes": {}} | more


def test_one_command_writes_table_results_and_plot(cache, cheap, tmp_path, monkeypatch):
    rows = (cheap(BASE), cheap("tlkit-1", views=3), cheap("broken", fail=True))
    monkeypatch.setattr(command, "CONTESTANTS", rows)
    monkeypatch.setattr(command, "QUICK", (TINY,))
    out = tmp_path / "out"
    arguments = ["--only", "T", "--rounds", "2", "--out", str(out), "--cache", str(cache)]
    (tmp_path / "some.weights.h5").touch()
    arguments += ["--weights", f"{TINY.backbone}={tmp_path}/some.weights.h5"]
    assert command.main(arguments) == 1, "a failure shows in the exit code"
    found = json.loads((out / "results.json").read_text())
    assert [(r["round"], r["contestant"]) for r in found["records"]] == [
        (1, BASE), (1, "tlkit-1"), (1, "broken"), (2, "tlkit-1"), (2, "broken"), (2, BASE),
    ]  # fmt: skip
    good = [r for r in found["records"] if r["ok"]]
    assert {r["notes"]["seen"] for r in good} == {24}
    assert all(r["notes"]["fresh"] for r in good), "each process starts with an empty cache"
    assert {(r["contestant"], r["notes"]["setting"]) for r in good} == {
        (BASE, BASE), ("tlkit-1", "tlkit-1"),
    }  # fmt: skip
    assert all((r["right"], r["judged"]) == (2, 20) for r in good), "one class of ten is right"
    assert not any(r["notes"]["shown"] for r in good), "no one is shown the held-out images"
    assert all(0 < r["cpu"] and 0 < r["wall"] and r["peak_mb"] > 1 for r in good)
    text = (out / "table.md").read_text()
    assert "| tlkit-1 | 3 |" in text
    assert "FAILED: T, broken, round 1: RuntimeError: no luck today" in text
    assert (out / "plot.png").read_bytes()[:4] == b"\x89PNG"


def test_a_hanging_contestant_is_stopped(cache, tmp_path, monkeypatch):
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    row = Contestant("slow", "hanging", "", ("T",))
    setting = harness.Setting(lambda work: cache, timeout=0.5)
    found = harness.once(row, TINY, images.prepare(cache, TINY), 0, setting)
    assert not found["ok"] and "stopped after" in found["why"]


def test_rounds_rotate_and_alternate():
    rows = [Contestant(name, "m", "", ("T",)) for name in "abc"]
    order = [row.name for _, _, row in harness.plan([TINY], rows, 4)]
    assert "".join(order) == "abcbcacababc"
    other = dataclasses.replace(TINY, name="unknown to all")
    assert harness.plan([other], rows, 2) == []


def test_ratios_are_medians_of_pairs_within_a_round():
    records = [record(BASE, 1, 10.0, 8.0), record(BASE, 2, 90.0, 4.0), record(BASE, 3, 20.0, 6.0)]
    # The second round was slow for both: a ratio of medians would say 20 / 4 = 5.
    records += [record("x", 1, 5.0, 2.0), record("x", 2, 30.0, 2.0), record("x", 3, 4.0, 2.0)]
    records += [record("y", 3, 40.0), record("x", 4, 1.0) | {"ok": False}]
    rows = [Contestant(name, "m", "", ("T",)) for name in (BASE, "x", "y", "absent")]
    found = {row["contestant"]: row for row in results.summarise(records, [TINY], rows)}
    assert list(found) == [BASE, "x", "y"]
    assert found[BASE][f"wall_ratio_{BASE}"] == 1.0
    assert found["x"][f"wall_ratio_{BASE}"] == 3.0  # of 2, 3, 5
    assert found["x"][f"cpu_ratio_{BASE}"] == 3.0  # of 4, 2, 3
    assert found["x"]["wall"] == 5.0 and found["x"]["wall_range"] == [4.0, 30.0]
    assert found["y"][f"wall_ratio_{BASE}"] == 0.5  # only the round it has taken part in
    assert found["x"][f"wall_ratio_{FAIR}"] is None
    assert found["x"]["rounds"] == 3 and found["x"]["accuracy"] == 0.75


def test_wilson_interval_of_textbook_case():
    low, high = results.wilson(0.75, 20)
    assert (low, high) == pytest.approx((0.5313, 0.8881), abs=1e-4)
    assert results.wilson(1.0, 10)[1] == pytest.approx(1.0)
    assert results.wilson(0.0, 10)[0] == pytest.approx(0.0)


def test_views_are_stated_for_every_row():
    guide, cached = (Contestant(n, "m", "", ("T",), views=v)
                     for n, v in (("guide", "fresh"), ("cached", "1, then fresh")))  # fmt: skip
    assert results.views(guide, TINY, []) == "2"
    assert results.views(cached, TINY, []) == "1, then 1"
    assert results.views(cached, dataclasses.replace(TINY, tail_epochs=0), []) == "1"
    assert results.views(guide, TINY, [record("x", 1, 1.0, notes={"views": 4})]) == "4"


def test_targets_are_judged_in_both_directions():
    def lines(seconds, torch=80.0):
        records = [record(BASE, 1, 80.0, work="W1"), record("torch", 1, torch, work="W1")]
        records.append(record("tlkit-1", 1, seconds, work="W1", notes={"views": 1}))
        mine = [Contestant(name, "m", "", ("W1",)) for name in (BASE, "torch", "tlkit-1")]
        return results.verdicts(results.summarise(records, [works.FULL[1]], mine), records)

    who = "(tlkit-1, K = 1; target "
    assert lines(10.0)[0] == f"reached: W1, one view, default engine: 8.00x {BASE} {who}5x)"
    assert lines(20.0)[1] == f"MISSED: W1, best of tlkit: 4.00x {BASE} {who}7x)"
    assert lines(10.0, torch=20.0)[2] == f"MISSED: W1, best of tlkit: 2.00x torch {who}7x)"
    assert lines(100.0)[-1].startswith("MISSED: slowest tlkit row of all works: 0.80x")


def test_cost_of_trials():
    marks = {"trial 1": {"wall": 10.0}, "trial 8": {"wall": 14.0}}
    records = [record("tlkit", 1, 15.0, work="W4", marks=marks)]
    assert results.trials_cost(records) == 1.5
    assert results.trials_cost([record("x", 1, 1.0)]) is None
    assert results.verdicts([], records) == [
        "reached: W4, tlkit: all trials cost 1.50x the first (target < 2x)"
    ]


def test_growth_is_against_the_first_size():
    sizes = tuple(dataclasses.replace(TINY, name=f"n={n}", images=n) for n in (100, 1000))
    records = [record("x", 1, 2.0, 4.0, work="n=100"), record("x", 1, 21.0, 20.0, work="n=1000")]
    rows = results.summarise(records, sizes, [Contestant("x", "m", "", ("n=100", "n=1000"))])
    text = results.growth(rows, {"images": sizes})
    assert "| x | n=1000 | 21.0 | 10.50 | 20.0 | 5.00 | 100 |" in text


def test_photos_are_repeatable_and_larger_sets_contain_smaller_ones(cache):
    assert np.array_equal(images.draw("dots", 3, (60, 40)), images.draw("dots", 3, (60, 40)))
    assert not np.array_equal(images.draw("dots", 3, (60, 40)), images.draw("dots", 4, (60, 40)))
    assert not np.array_equal(images.draw("dots", 3, (60, 40)), images.draw("bars", 3, (60, 40)))
    small = _contents(images.prepare(cache, TINY))
    large = _contents(images.prepare(cache, dataclasses.replace(TINY, images=40)))
    assert {part: len(small[part]) for part in small} == {"train": 24, "val": 10, "test": 20}
    assert small["test"] == large["test"] and small["train"] <= large["train"]
    for found in (small, large):
        assert not found["train"] & found["test"] and not found["val"] & found["test"]
        assert not found["train"] & found["val"]


def test_own_photos_keep_their_test_part(tmp_path):
    for part, count in (("train", 9), ("test", 4)):
        for name in ("ant", "bee"):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i}.jpg").write_bytes(f"{part}{name}{i}".encode())
    work = dataclasses.replace(TINY, images=6)
    found = _contents(images.prepare(tmp_path / "cache", work, tmp_path / "photos"))
    assert {part: len(found[part]) for part in found} == {"train": 6, "val": 10, "test": 8}
    assert all(content.startswith(b"test") for content in found["test"])
    with pytest.raises(TlkitError, match="two or more"):
        images.own(tmp_path / "photos" / "train" / "ant")


def _contents(folder: Path) -> dict[str, set[bytes]]:
    parts = {"train": "photos/train", "val": "photos/val", "test": "test"}
    return {
        part: {path.read_bytes() for path in (folder / place).glob("*/*")}
        for part, place in parts.items()
    }


def test_a_job_survives_its_file(tmp_path):
    job = Job("m", works.FULL[2], "a", "b", seed=3, options={"views": 1}, spawned=1.5)
    job.write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json") == job


def test_the_clock_counts_cpu_seconds():
    clock = Clock(0.0)
    clock.mark("before")
    sum(math.sqrt(i) for i in range(300_000))
    clock.mark("after")
    assert clock.marks["after"]["cpu"] > clock.marks["before"]["cpu"]


def test_boundaries_of_works_are_those_of_tlkit():
    from tlkit.backbones.table import spec

    for work in (*works.FULL, *works.QUICK, TINY):
        stages = dict(spec(work.backbone).stages)
        below = list(stages)[list(stages).index(work.stage) - 1]
        assert stages[below] == work.boundary


def test_unknown_names_are_refused(capsys):
    assert command.main(["--only", "W11"]) == 2
    assert "Unknown work 'W11'" in capsys.readouterr().err
    assert command.main(["--only", "W1", "--peers", "tlkit-one"]) == 2
    assert "Did you mean" in capsys.readouterr().err
    assert command.main(["--only", "W1", "--weights", "nowhere.h5"]) == 2
    assert "no weights file nowhere.h5" in capsys.readouterr().err


def test_absent_packages_are_a_reason():
    row = dataclasses.replace(contestants.CONTESTANTS[0], needs=("json", "no_such_package"))
    assert row.absent() == "not installed: no_such_package"
    assert dataclasses.replace(row, needs=("json",)).absent() == ""


def test_variants_set_the_environment():
    row = contestants.variant("bf16:fresh:ENGINE=openvino,THREADS=2")
    assert (row.name, row.views) == ("tlkit-bf16", "fresh")
    assert row.env == {"ENGINE": "openvino", "THREADS": "2"}
    assert row.options == {"views": "epochs"}
    assert contestants.variant("x:ENGINE=tf").options == {"views": 1}
    with pytest.raises(ValueError, match="reads NAME"):
        contestants.variant("bf16")


def test_floor_shares():
    found = floors._compared("decode", {"slow": 50.0, "best": 100.0}, 90.0)
    assert found["best"] == "best" and found["share"] == 0.9
    text = floors.table([found])
    assert "| decode: slow | 50 | 1.80 |" in text and "| 90 | 0.90 of the best |" in text


def test_growth_series_run_once_each(cache, cheap, monkeypatch):
    sizes = tuple(dataclasses.replace(TINY, name=f"images={n}", images=n) for n in (12, 24))
    monkeypatch.setattr(command, "series", lambda full: {"images": sizes})
    setting = harness.Setting(lambda work: images.prepare(cache, work))
    records, text = command._scaling(False, [cheap("tlkit-1"), cheap(BASE)], setting)
    assert [(r["contestant"], r["notes"]["seen"]) for r in records] == [
        ("tlkit-1", 12), ("tlkit-1", 24),
    ]  # fmt: skip
    assert "### Growth with images" in text and "| tlkit-1 | images=24 |" in text


def test_regret_is_counted_against_the_best_cell():
    """Two seeds of one case; of ten test images so many are right."""

    def case(seed, **right):
        cells = {
            name.replace("_", " "): {"accuracy": n / 10, "correct": "1" * n + "0" * (10 - n),
                                     "seconds": 6.0 * (seed + 1)}
            for name, n in right.items()
        }  # fmt: skip
        given = advice_regret.Case("photos", "folder", 60, seed, "net", None, 28)
        advice = {"plan": f"plan {seed}", "accuracy": [0.7, 0.65, 0.75], "expected": 6.0,
                  "probe": 0.5, "logme": 0.1}  # fmt: skip
        return given.key, {"case": dataclasses.asdict(given), "advice": advice, "cells": cells}

    found = advice_regret.summary(dict([
        case(0, advised=7, default=6, head_only=9), case(1, advised=8, default=8, head_only=8),
    ]))  # fmt: skip
    (row,) = found["rows"]
    assert (row["name"], row["seeds"], row["best"]) == ("photos 60 net", 2, "head only")
    assert row["plans"] == ["plan 0", "plan 1"]
    assert row["accuracy"] == pytest.approx({"advised": 0.75, "default": 0.7, "head only": 0.85})
    assert row["regret"] == pytest.approx(0.1) == found["mean_regret"]
    assert row["regret_interval"]["value"] == pytest.approx(0.1)
    assert row["regret_interval"]["low"] <= 0.1 <= row["regret_interval"]["high"]
    assert row["default_regret"] == pytest.approx(0.15)
    assert row["against_default"]["value"] == pytest.approx(0.05)
    assert found["coverage"] == 0.5 and found["time_ratio"] == [1.0, 2.0]
    assert not found["kendall"] and not found["surely_worse_than_default"]
    said = "\n".join(advice_regret.show(found))
    assert "regret +10.0 points" in said and "against head only" in said
    assert "mean regret 10.00 points" in said


def test_cells_of_the_grid_have_as_many_epochs():
    cells = advice_regret.grid(("low", "mid", "high"), "flip", 90)
    assert list(cells) == ["default", "head only", "last stage", "two stages", "all", "scratch"]
    assert {phase.augment for plan in cells.values() for phase in plan} == {"flip"}
    assert [plan[-1].unfreeze for plan in cells.values()] == ["high", None, "high", "mid", "all",
                                                              "all"]  # fmt: skip
    for name, plan in cells.items():
        assert name == "default" or sum(phase.epochs for phase in plan) == 90


def test_torch_nets_have_the_parameters_of_the_keras_ones():
    torch_nets = pytest.importorskip("benchmarks.torch_nets", reason="torch is not installed")
    from tlkit.backbones.table import spec

    for name, biases in (("mobilenet_v2", 0), ("resnet50", 26_560)):  # Keras's biases before norms
        lower, tail, channels = torch_nets.NETS[name]()
        state = {**lower.state_dict(prefix="lower."), **tail.state_dict(prefix="tail.")}
        count = sum(v.numel() for key, v in state.items() if "num_batches" not in key)
        assert count == spec(name).parameters - biases
        assert channels == spec(name).feature_channels


@pytest.mark.large
def test_guide_and_tlkit_train_the_tiny_work(cache):
    rows = [dataclasses.replace(row, works=("T",)) for row in contestants.CONTESTANTS
            if row.name in (BASE, FAIR, "keras-cached", "tlkit-1", "tlkit")]  # fmt: skip
    from benchmarks.random_weights import weights_file

    setting = harness.Setting(
        lambda work: images.prepare(cache, work),
        lambda work, folder: weights_file(cache, work, folder),
        rounds=1,
    )
    for found in harness.run([TINY], rows, setting):
        assert found["ok"], found
        assert found["judged"] == 20 and found["peak_mb"] > 300
