"""The adviser end to end on tiny pictures, its rules as pure functions, and its files."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from tests.conftest import tiny_backbone, write_pictures
from tlkit import advice as advising
from tlkit import advice_rules, candidates, costs, phases, recipe_files, stage_features
from tlkit.advice_rules import Facts
from tlkit.data import load_images
from tlkit.errors import TlkitError
from tlkit.model import PIXELS, Classifier
from tlkit.store import Store

FACTS = Facts(
    images=800, classes=5, domain="similar", gain=0.0, distance=0.2, accuracy=0.93, probed=800,
    tested=150, stages=("stage1", "stage2", "stage3"), best_stage="stage3",
)  # fmt: skip


def changed(**values):
    return dataclasses.replace(FACTS, **values)


@pytest.fixture
def store():
    return Store()


def test_stage_rows_are_pooled_stage_outputs(classifier, data, store):
    found = stage_features.stage_features(classifier, data.train, store)
    from tlkit.features import pixel_rows

    pixels = pixel_rows(store, data.train, classifier.rule)[:8].astype(np.float32)
    for name in classifier.stages:
        expected = classifier.segment(PIXELS, name)(pixels, training=False).numpy().mean((1, 2))
        np.testing.assert_allclose(found.stages[name][:8], expected, rtol=1e-3, atol=1e-4)
    seen = keras.Model(
        classifier.backbone.net.input, classifier.backbone.net.get_layer("conv2").output
    )(classifier.backbone.preprocess(pixels)).numpy()
    norm = found.norms["stage2"]
    np.testing.assert_allclose(norm.mean[:8], seen.mean((1, 2)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm.square[:8], (seen**2).mean((1, 2)), rtol=1e-3, atol=1e-4)
    layer = classifier.backbone.net.get_layer("norm2")
    np.testing.assert_array_equal(norm.moving_variance, layer.moving_variance.numpy())
    assert found.all_stages().shape == (len(data.train), 8 + 12 + 16)
    assert found.rate > 0


def test_second_look_is_served_from_the_cache(classifier, data, store, monkeypatch):
    first = stage_features.stage_features(classifier, data.train, store)
    monkeypatch.setattr(stage_features.engines, "compile", None)  # any pass would now fail
    again = stage_features.stage_features(classifier, data.train, store)
    np.testing.assert_array_equal(first.all_stages(), again.all_stages())
    assert again.rate == first.rate
    layer = classifier.backbone.net.get_layer("conv3")
    layer.kernel.assign(layer.kernel * 1.01)  # other weights are other features
    with pytest.raises(TypeError):
        stage_features.stage_features(classifier, data.train, store)


def test_sample_keeps_proportions_and_groups(data):
    looked = candidates.sample(data, 30)
    assert len(looked.images) == len(looked.images.hashes) == 30
    assert np.bincount(looked.images.labels).tolist() == [10, 10, 10]
    assert set(looked.images.hashes) <= set(data.train.hashes)
    assert len(candidates.sample(data, 10_000).images) == looked.total == len(data.train)
    group = np.where(np.arange(len(data.table)) % 4 < 2, "same", "")
    table = dataclasses.replace(data.table, group=group.astype("<U4"))
    grouped = dataclasses.replace(data, checked=dataclasses.replace(data.checked, table=table))
    looked = candidates.sample(grouped, 10_000)
    together = table.group[data.splits == "train"] == "same"
    assert len(set(looked.folds[together])) == 1 < len(set(looked.folds[~together]))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "fine-tune from stage3"),
        ({"images": 40}, "head only"),
        ({"accuracy": 0.6}, "fine-tune from stage2"),
        ({"accuracy": 0.6, "images": 250}, "fine-tune from stage3"),
        ({"images": 4000, "accuracy": 0.97}, "fine-tune from stage3"),
        ({"domain": "unclear"}, "fine-tune from stage3"),
        ({"domain": "different", "distance": 0.9}, "fine-tune from stage1"),
        ({"domain": "different", "distance": 0.9, "images": 100}, "fine-tune from stage1"),
        ({"domain": "different", "images": 4000, "gain": 0.1}, "fine-tune from stage1"),
        ({"pretrained": False}, "train from scratch"),
    ],
)
def test_rules(changes, name):
    plan = advice_rules.plan(changed(**changes))
    assert plan.name == name
    fields = {f"{phase.name}.{f.name}" for phase in plan.phases for f in dataclasses.fields(phase)}
    assert set(plan.notes) <= fields and all(plan.notes.values())


def test_enough_data_and_nothing_strange_is_the_default():
    plan = advice_rules.plan(FACTS)
    assert plan.is_default and plan.phases == phases.head_then_upper(FACTS.stages)
    assert not advice_rules.plan(changed(policy="textures")).is_default


def test_few_images_get_enough_steps():
    """An epoch of 40 images is two steps: the default's epochs would end before the head fits."""
    for phase in advice_rules.plan(changed(images=100)).phases:
        assert phase.epochs * -(-100 // phase.batch_size) >= 400
        assert phase.patience > phases.Phase("x").patience


def test_a_different_domain_trains_new_statistics():
    near = advice_rules.plan(changed(domain="unclear")).phases[-1]
    far = advice_rules.plan(changed(domain="different", distance=0.8)).phases[-1]
    assert (near.batch_norm, far.batch_norm) == ("frozen", "train") and far.rate > near.rate
    assert far.clip == advice_rules.FAR_CLIP and not near.clip


@pytest.mark.parametrize("images", [499, 501])
@pytest.mark.parametrize("domain", ["similar", "different"])
def test_the_table_has_every_cell(images, domain):
    facts = changed(images=images, domain=domain)
    assert facts.cell == ("little" if images < 500 else "much", domain)
    assert advice_rules.TABLE[facts.cell]


def test_range_narrows_with_images_and_stays_within_bounds():
    wide = advice_rules.accuracy_range(changed(probed=40, tested=30), 1)
    narrow = advice_rules.accuracy_range(changed(probed=2000, tested=2000), 1)
    assert wide[2] - wide[1] > narrow[2] - narrow[1] > 0
    perfect = advice_rules.accuracy_range(changed(accuracy=1.0), 1)
    assert 0 < perfect[1] < perfect[2] == 1.0 and perfect[0] <= 1


def test_range_covers_if_gains_are_as_stated():
    """Draws probes, gains and tests as the range assumes; 95 % must hold the outcome."""
    draw, held = np.random.default_rng(0), 0
    mean, spread = advice_rules.GAINS[1]
    for _ in range(2000):
        probe = draw.binomial(300, 0.8) / 300
        truth = np.clip(1 - 0.2 * (1 - draw.normal(mean, spread)), 0, 1)
        facts = changed(accuracy=probe, probed=300, tested=100)
        _, low, high = advice_rules.accuracy_range(facts, 1)
        held += low <= draw.binomial(100, truth) / 100 <= high
    assert held / 2000 >= 0.93


def test_cost_counts(classifier):
    found = costs.cost(classifier.backbone, 100.0, 2)
    adds = 16 * 16 * 27 * 8 + 8 * 8 * 72 * 12 + 4 * 4 * 108 * 16
    assert found.multiply_adds == adds
    assert found.parameters == classifier.backbone.net.count_params()
    assert found.joules == pytest.approx(costs.WATTS * 2 / 100)
    assert found.least_joules == pytest.approx(adds * 4.6e-12)


def test_a_probe_is_kept_by_what_went_into_it(monkeypatch, private_home):
    draw = np.random.default_rng(0)
    rows, labels, folds = draw.normal(size=(60, 5)), np.arange(60) % 3, np.arange(60) % 5
    first = candidates._probed(rows, labels, folds)
    probe = candidates.probes.probe
    monkeypatch.setattr(candidates.probes, "probe", None)
    again = candidates._probed(rows, labels, folds)
    assert (again.linear, again.knn, again.logme) == (first.linear, first.knn, first.logme)
    np.testing.assert_array_equal(again.correct, first.correct)
    with pytest.raises(TypeError):
        candidates._probed(rows, (labels + 1) % 3, folds)
    monkeypatch.setattr(candidates.probes, "probe", probe)
    for file in private_home.rglob("*.npz"):
        file.write_bytes(b"damaged")
    assert candidates._probed(rows, labels, folds).linear == first.linear


def test_ranking_never_names_a_winner_the_images_cannot_show(classifier, data, store):
    looked = candidates.sample(data, 1000)
    one, _ = candidates.candidate(classifier, looked, store)
    right = one.top.correct.copy()
    right[:2] = ~right[:2]
    stages = dict(one.stages)
    stages["stage3"] = dataclasses.replace(one.top, correct=right)
    other = dataclasses.replace(one, name="other", stages=stages)
    none = dict(one.stages)
    value = dataclasses.replace(one.top.linear, value=0.0)
    none["stage3"] = dataclasses.replace(one.top, correct=right & False, linear=value)
    first, second, last = candidates.ranked(
        [dataclasses.replace(one, name="bad", stages=none), one, other]
    )
    assert {first.name, second.name} == {"tiny", "other"} and second.tied
    assert last.name == "bad" and not last.tied


@pytest.fixture(scope="module")
def advised(tmp_path_factory):
    """Advice on 60 pictures for a network with random weights, written to a folder."""
    folder = tmp_path_factory.mktemp("advice")
    write_pictures(folder / "photos", 20)
    from tlkit.commands.advise import advise

    found = CliRunner().invoke(advise, [
        str(folder / "photos"), "--backbones", "lenet-caffe", "--weights", "lenet-caffe=none",
        "--size", "28", "--out", str(folder / "out"), "--test-share", "0.2",
    ])  # fmt: skip
    assert found.exit_code == 0, found.output
    return folder / "out", found.output


def test_command_prints_all_parts(advised):
    _, text = advised
    for part in ("Where you are: little data", "The lectures' rule", "linear probe", "LogME",
                 "multiply-adds", "estimate", "Plan: lenet-caffe, train from scratch",
                 "the weights are random", "Expect", "minutes", "finetune --plan"):  # fmt: skip
        assert part in text


def test_written_files_agree(advised):
    folder, _ = advised
    numbers = json.loads((folder / "advice.json").read_text())
    page = (folder / "advice.html").read_text()
    recipe = recipe_files.read(folder / "advised.py")
    assert recipe["backbone"] == "lenet-caffe" and recipe["weights"] is None
    plan = recipe_files.plan(recipe)
    assert [dataclasses.asdict(phase) for phase in plan] == numbers["phases"]
    assert page.count("<svg") == 2 and "http" not in page and "lenet-caffe" in page
    assert "# the weights are random" in (folder / "advised.py").read_text()


def test_recipe_runs_as_written(advised, tmp_path):
    folder, _ = advised
    recipe = recipe_files.read(folder / "advised.py")
    recipe["phases"] = [phase | {"epochs": 1, "views": 1} for phase in recipe["phases"]]
    run = recipe_files.train(recipe, tmp_path / "run", Store())
    assert run.finished and len(run.history) == 1


def test_quick_advice_follows_what_is_measured(classifier, data, store, capsys):
    plan = advising.quick_advice(classifier, data, store)
    said = capsys.readouterr().err
    assert plan.name in said and "linear probe" in said
    assert classifier.boundary_below(plan.phases[-1].unfreeze)
    chosen = advising.quick_advice(classifier, data, store, policy="flip")
    assert {phase.augment for phase in chosen.phases} == {"flip"}


def test_quick_advice_for_random_weights_looks_at_nothing(data, store, capsys):
    model = Classifier("lenet-caffe", data.class_names, weights=None, size=28)
    plan = advising.quick_advice(model, data, store)
    assert plan.phases == phases.from_scratch() and "random" in capsys.readouterr().err


def test_quick_advice_without_enough_images_is_the_default(classifier, tmp_path, store, capsys):
    few = load_images(write_pictures(tmp_path / "few", 6))
    plan = advising.quick_advice(classifier, few, store)
    assert plan.phases == phases.head_then_upper(classifier.stages)
    assert "too few" in capsys.readouterr().err


def test_regret_is_counted(monkeypatch, tmp_path, photos, capsys):
    """The benchmark on real pictures and a real adviser; training is played by fixed answers."""
    from benchmarks import advice_regret

    trained = []

    def train(case, data, plan, random, store):
        trained.append(plan)
        right = np.arange(len(data.test)) % 10 < (5 if random else 9 - len(plan) + case.seed)
        correct = "".join("01"[int(one)] for one in right)
        return {"accuracy": float(right.mean()), "correct": correct, "seconds": 6.0, "epochs": [2]}

    monkeypatch.setattr(advice_regret, "_train", train)
    arguments = [
        "--data", f"tiny={photos}", "--weights", "lenet-caffe=", "--sizes", "60", "--seeds", "2",
        "--pixels", "28", "--out", str(tmp_path / "regret.json"), "--test-limit", "20",
    ]  # fmt: skip
    found = advice_regret.main(arguments)
    (row,) = found["rows"]
    assert row["best"] == "head only" and row["plans"] == ["train from scratch"]
    cells = row["accuracy"]
    assert row["regret"] == pytest.approx(cells["head only"] - cells["advised"])
    assert row["regret_interval"]["low"] <= row["regret"] <= row["regret_interval"]["high"]
    assert 0 <= found["coverage"] <= 1 and len(found["time_ratio"]) == 2
    count = len(trained)
    assert advice_regret.main(arguments) == found and len(trained) == count  # nothing done twice
    assert "mean regret" in capsys.readouterr().out


def test_errors(data):
    with pytest.raises(TlkitError, match="at least one"):
        advising.advise(data, [])
    with pytest.raises(TlkitError, match="photos"):
        advising.advise(data, policy="photo")
    with pytest.raises(TlkitError, match="backbone with weights"):
        advising.advise(data, ["mobilenet_v2"], weights={"resnet50": None})


def test_a_network_without_norms_is_measured_too(data, store):
    model = Classifier("lenet-caffe", data.class_names, weights=None, size=28)
    found = stage_features.stage_features(model, data.train, store)
    assert not found.norms and list(found.stages) == list(model.stages)
    assert all(np.isfinite(rows).all() for rows in found.stages.values())


def test_tiny_backbone_is_pretrained(data):
    assert advising._pretrained(Classifier(tiny_backbone(), data.class_names))
