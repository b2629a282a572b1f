"""Of finalists of known loss the best wins, and what is said of the difference is true."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from tests import searches
from tests.conftest import tiny_backbone
from tests.searches import LINE, PLAN, Script, ended, place, searcher, sure
from tlkit import files
from tlkit.errors import TlkitError
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head
from tlkit.phases import recipe_format
from tlkit.tuning import conclusion, finalists, search
from tlkit.tuning.finalists import Finalist
from tlkit.tuning.space import phases_of
from tlkit.tuning.study import Trial


@pytest.fixture(scope="module")
def images(photos, tmp_path_factory):
    return searches.read(photos, tmp_path_factory.mktemp("home"), seed=3)


@pytest.fixture(scope="module")
def model(images):
    return Classifier(tiny_backbone(), images.class_names)


def decided(model, images, out, chances, answers=None, losses=(0.9, 0.5, 0.4), **options):
    """Confirms trials 0, 1 and 2, whose right labels get these chances, and judges them.

    Args:
        chances: By trial, or by trial and seed.
        answers: By trial and seed what the worker says instead of `done`.
    """
    labels = images.val.labels

    def play(job):
        chance = chances[place(job)[0]]
        chance = chance[place(job)[1]] if isinstance(chance, dict) else chance
        return {"logits": sure(labels, chance), **(answers or {}).get(place(job), {})}

    found = searcher(model, images, out, Script(play), finalists=2, **{"repeats": 2} | options)
    ended(found, losses)
    found.confirm()
    return conclusion.judged(found)


def test_the_finalist_with_the_least_loss_wins(model, images, tmp_path):
    for number, name in enumerate(("default", "second of the search", "first of the search")):
        chances = {trial: 0.9 if trial == number else 0.5 + 0.1 * trial for trial in range(3)}
        found = decided(model, images, tmp_path / name, chances)
        order = [one.number for one in found.finalists]
        assert order == [number, *sorted({0, 1, 2} - {number}, reverse=True)]
        assert found.settings == found.trials[number].settings
        means = [one.losses.mean() for one in found.finalists]
        wanted = sorted(-math.log(chance) for chance in chances.values())
        assert means == pytest.approx(wanted)
        assert [one.settings for one in found.finalists] == [
            found.trials[one].settings for one in order
        ]


def test_the_mean_over_seeds_decides_and_not_the_luckiest(model, images, tmp_path):
    chances = {0: 0.4, 1: {1: 0.99, 2: 0.4}, 2: 0.7}  # mean losses .92, .46 and .36
    assert decided(model, images, tmp_path, chances).settings["head_rate"] == 0.022
    lucky = {0: 0.4, 1: 0.7, 2: {1: 0.4, 2: 0.99}}
    assert decided(model, images, tmp_path / "b", lucky).settings["head_rate"] == 0.021


def test_the_verdict_is_on_the_winner_against_the_default(model, images, tmp_path):
    found = decided(model, images, tmp_path, {0: 0.4, 1: 0.9, 2: 0.7})
    assert [(c["first"], c["second"]) for c in found.comparisons] == [(1, 2), (1, 0)]
    assert found.verdict == found.comparisons[1]["verdict"]
    assert found.verdict.startswith("trial 1 is better: trial 1 against the default log loss -0.8")
    best = decided(model, images, tmp_path / "default", {0: 0.9, 1: 0.4, 2: 0.7})
    assert best.verdict.startswith("the default settings are the best that was found: the default")


def test_without_the_default_the_best_is_the_best_of_what_there_is(model, images, tmp_path):
    answers = {(0, seed): {"status": "cut", "message": "the time was up"} for seed in (1, 2)}
    found = decided(model, images, tmp_path, {0: 0.9, 1: 0.4, 2: 0.7}, answers)
    assert [one.number for one in found.finalists] == [2, 1]
    assert found.verdict == "trial 2 is the best of what could be confirmed"


@pytest.mark.parametrize("status", ["failed", "pruned"])
def test_settings_that_fail_from_one_seed_do_not_win(model, images, tmp_path, status, capsys):
    answers = {(2, 2): {"status": status, "message": "a planted crash"}}
    found = decided(model, images, tmp_path, {0: 0.5, 1: 0.6, 2: 0.99}, answers)
    assert [one.number for one in found.finalists] == [1, 0]
    assert f"Trial 2, seed 2: {status}, a planted crash" in capsys.readouterr().err


def test_a_seed_for_which_there_was_no_time_does_not_count_against_its_settings(
    model, images, tmp_path
):
    answers = {(2, 2): {"status": "cut", "message": "the time was up"}}
    found = decided(model, images, tmp_path, {0: 0.5, 1: 0.6, 2: 0.99}, answers)
    assert [(one.number, len(one.folders)) for one in found.finalists] == [(2, 1), (1, 2), (0, 2)]
    assert not (found.folder / "finalists" / "0002-2" / "val_logits.npy").exists()
    assert found.comparisons[0]["seeds"] == 1


def test_without_any_finalist_the_reason_is_said(model, images, tmp_path):
    every = {(number, seed): {"status": "failed"} for number in range(3) for seed in (1, 2)}
    with pytest.raises(TlkitError, match="up before one finalist was trained; 3 trials are kept"):
        decided(model, images, tmp_path, {0: 0.5, 1: 0.6, 2: 0.7}, every)
    empty = searcher(model, images, tmp_path / "failed")
    empty.study.add(Trial(0, LINE.default, status="failed", message="no room"))
    with pytest.raises(TlkitError, match="The last said: no room"):
        conclusion.judged(empty)


# Intervals


def finalist(number, right, seeds=3, images=400, seed=0):
    """A finalist that is right on a share of the images."""
    draw = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    hit = draw.random((seeds, images)) < right
    logits = np.zeros((seeds, images, 2))
    np.put_along_axis(logits, np.where(hit, labels, 1 - labels)[..., None], 2.0, -1)
    return Finalist(number, {}, [Path()] * seeds, logits, labels)


def test_losses_and_hits_are_those_of_the_logits():
    one = finalist(1, 0.75)
    chance = 1 / (1 + np.exp(-2.0))
    wanted = np.where(one.hits == 1, -np.log(chance), -np.log(1 - chance))
    np.testing.assert_allclose(one.losses, wanted)
    assert 0.7 < one.hits.mean() < 0.8


def test_a_finalist_is_gathered_from_the_runs_of_its_seeds(tmp_path):
    logits = np.arange(12.0).reshape(2, 3, 2)
    folders = [tmp_path / "0003-2", tmp_path / "0003-1"]
    for folder, rows in zip(folders, logits, strict=True):
        folder.mkdir()
        np.save(folder / "val_logits.npy", rows)
    one = finalists.gather(3, {"rate": 0.1}, folders, [0, 1, 1])
    np.testing.assert_array_equal(one.logits, logits)
    assert (one.number, one.settings, one.folders) == (3, {"rate": 0.1}, folders)


def test_equal_finalists_cannot_be_told_apart_and_unequal_ones_can():
    same = finalists.compare(finalist(1, 0.8, seed=1), finalist(0, 0.8, seed=2))
    assert same["verdict"].startswith("cannot tell trial 1 from the default")
    clear = finalists.compare(finalist(2, 0.9, seed=1), finalist(0, 0.7, seed=2))
    assert clear["verdict"].startswith("trial 2 is better") and clear["losses"]["high"] < 0
    turned = finalists.compare(finalist(0, 0.7, seed=2), finalist(2, 0.9, seed=1))
    assert turned["verdict"].startswith("trial 2 is better")
    assert turned["losses"]["value"] == pytest.approx(-clear["losses"]["value"])
    assert clear["hits"]["value"] == pytest.approx(0.2, abs=0.04) and clear["hits"]["low"] > 0


def test_images_are_drawn_together_for_both():
    """Where one is worse than the other by the same on every image, there is no doubt at all."""
    one = finalist(1, 0.8, seeds=1)
    chances = np.exp(-one.losses[0]) * 0.9
    logits = np.log(np.stack([1 - chances, chances], -1))
    flipped = np.where(one.labels[:, None] == 1, logits, logits[:, ::-1])
    worse = Finalist(0, {}, [Path()], flipped[None], one.labels)
    found = finalists.compare(one, worse)["losses"]
    wanted = math.log(0.9)
    assert [found[key] for key in ("low", "value", "high")] == pytest.approx([wanted] * 3)


def test_chance_between_seeds_is_in_the_interval():
    """Three seeds that are right on 60, 80 and 100 % of very many images: images say nothing."""
    rows = np.repeat([[0.6], [0.8], [1.0]], 4000, 1)
    found = finalists.interval(rows)
    assert found["value"] == pytest.approx(0.8)
    # All draws from three seeds: the mean is 0.6 in 1 of 27 and 0.667 in 3 of 27.
    assert (found["low"], found["high"]) == pytest.approx((0.6, 1.0))
    assert finalists.interval(np.full((3, 4000), 0.8))["low"] == pytest.approx(0.8)


def test_a_single_seed_is_said_to_be_one():
    told = finalists.compare(finalist(1, 0.8, seeds=1), finalist(0, 0.8, seeds=3, seed=5))
    assert "one seed each" in told["verdict"] and told["seeds"] == 1
    told = finalists.compare(finalist(1, 0.8, seeds=2), finalist(0, 0.8, seeds=3, seed=5))
    assert "2 seeds each: few" in told["verdict"]


def test_intervals_cover_as_often_as_they_say():
    inside = [
        found["low"] <= 0.7 <= found["high"]
        for found in (finalists.interval(finalist(1, 0.7, 1, 200, seed).hits) for seed in range(60))
    ]
    assert 0.85 <= np.mean(inside) <= 1.0


def test_without_a_mistake_the_bound_is_the_exact_one():
    told = finalist(1, 1.1, images=50).describe()
    assert told["accuracy"]["value"] == 1.0 and told["seeds"] == 3 and told["trial"] == 1
    assert told["accuracy"]["low"] ** 50 == pytest.approx(0.025)
    assert told["loss"]["value"] == pytest.approx(math.log(1 + math.exp(-2)))


# What is written down


def test_the_origin_is_what_the_recipe_needs_to_build_the_same(model, images, photos, tmp_path):
    made = {"backbone": "tiny", "seed": 4}
    told = conclusion.origin(model, images, tmp_path / "start", made)
    assert told == {"source": str(photos), "data": {"val_share": 0.25, "seed": 3}, **made}
    rule = {"size": 32, "resize": "crop", "channels": 3}
    told = conclusion.origin(model, images, tmp_path / "start", None)
    assert told == {"source": str(photos), "data": {"val_share": 0.25, "seed": 3},
                    "backbone": str(tmp_path / "start"), **rule}  # fmt: skip


def test_options_of_reading_that_are_usual_are_left_out(model, images, tmp_path):
    usual = {**images.manifest["options"], "val_share": 0.15}
    data = dataclasses.replace(images, manifest={**images.manifest, "options": usual, "seed": 0})
    assert "data" not in conclusion.origin(model, data, tmp_path, None)
    usual |= {
        "test": "more/",
        "test_share": 0.3,
        "max_bad": 0.5,
        "labels": "a.csv",
        "data_dir": "d",
    }
    data = dataclasses.replace(images, manifest={**images.manifest, "options": usual, "seed": 0})
    assert conclusion.origin(model, data, tmp_path, None)["data"] == {
        "labels": "a.csv", "test": "more/", "test_share": 0.3, "max_bad": 0.5, "data_dir": "d"
    }  # fmt: skip


def test_the_recipe_has_the_head_and_the_phases_of_the_winner(tmp_path):
    path = conclusion.write_recipe(
        tmp_path, (Head("mlp", 0.4), PLAN), {"source": "photos", "seed": 3}, {"phases": "a reason"}
    )
    read = recipe_format.read(path)
    assert path == tmp_path / "winner.py" and "    # a reason\n" in path.read_text()
    assert read["head"] == {"kind": "mlp", "dropout": 0.4, "init": "zero"}
    assert (recipe_format.phases_in(read), read["source"], read["seed"]) == (PLAN, "photos", 3)


def test_the_result_in_numbers(model, images, tmp_path):
    found = decided(model, images, tmp_path, {0: 0.4, 1: 0.9, 2: 0.7})
    found.test = {"n": 18, "accuracy": 0.5, "log_loss": 1.0, "more": 2}
    conclusion.write_result(tmp_path, found, 12.34)
    told = files.read_json(tmp_path / "result.json")
    assert [one["trial"] for one in told["finalists"]] == [1, 2, 0]
    assert told["finalists"][0]["loss"]["value"] == pytest.approx(-math.log(0.9))
    assert told["test"] == {"n": 18, "accuracy": 0.5, "log_loss": 1.0} and told["seconds"] == 12.3
    assert told["settings"] == found.settings and told["verdict"] == found.verdict
    assert told["comparisons"] == found.comparisons and told["note"] == finalists.CURSE


# The control


def test_the_control_says_who_won_and_who_did_not():
    from benchmarks import search_control

    entries = {
        "search": finalist(1, 0.9, seed=1), "random search": finalist(2, 0.9, seed=2),
        "default": finalist(0, 0.7, seed=3),
    }  # fmt: skip
    told = search_control._compare(entries)["comparisons"]
    assert told["search against default"]["result"] == "search is better"
    assert told["search against random search"]["result"].startswith("cannot tell")
    assert told["search against default"]["accuracy"]["low"] > 0


def test_without_a_watcher_every_trial_and_finalist_is_a_line(
    model, images, tmp_path, capsys, monkeypatch
):
    def play(job):
        failed = job["seed"] == 0 and job["phases"][0]["rate"] != 0.02
        return {
            "logits": sure(images.val.labels, 0.5), "loss": None if failed else 0.25,
            "accuracy": None if failed else 0.75, "seconds": 2.0,
            "status": "failed" if failed else "done",
        }  # fmt: skip

    monkeypatch.setattr(search, "conclude", conclusion.judged)
    search.search(
        model, images, None, Script(play), minutes=None, trials=2, repeats=1, plan=PLAN,
        space=LINE, out=tmp_path,
    )  # fmt: skip
    lines = capsys.readouterr().err.splitlines()
    assert "trial   0 done   loss 0.2500 accuracy 0.750    2.0 s" in lines
    assert any(line.startswith("trial   1 failed") and line.endswith(" 2.0 s") for line in lines)
    assert "trial   0 again on all images, seed 1" in lines


def test_the_recipe_trains_what_won_from_the_seed_that_is_kept(
    model, images, tmp_path, monkeypatch
):
    crowned = []
    monkeypatch.setattr(
        conclusion, "install_winner", lambda folder, best, data: crowned.append(best)
    )
    chances = {0: 0.4, 1: 0.9, 2: 0.7}
    worker = Script(lambda job: {"logits": sure(images.val.labels, chances[place(job)[0]])})
    found = searcher(model, images, tmp_path, worker, finalists=2, repeats=2, seed=4)
    ended(found, [0.9, 0.5, 0.4])
    found.study.trials[1].batch_size = 8  # what memory left of it
    found.confirm()
    told = conclusion.conclude(found)
    read = recipe_format.read(told.recipe)
    head, phases = phases_of(found.study.trials[1].settings, PLAN)
    assert phases[0].rate == 0.021 and read["seed"] == 5
    assert recipe_format.phases_in(read) == tuple(
        dataclasses.replace(phase, batch_size=8) for phase in phases
    )
    assert Head(**read["head"]) == head and [one.number for one in crowned] == [1]
    assert told.verdict[:40] in told.recipe.read_text().replace("\n    # ", " ")
    assert (told.folder / "report.html").exists() and (told.folder / "result.json").exists()
