"""The adviser end to end on tiny pictures, and the files it writes."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from tests.conftest import write_pictures
from tlkit.advice import advise as advising
from tlkit.errors import TlkitError
from tlkit.features import stages
from tlkit.features.store import Store
from tlkit.images.dataset import load_images
from tlkit.models.classifier import Classifier
from tlkit.models.network import PIXELS
from tlkit.phases import phase as phases
from tlkit.phases import recipe_format
from tlkit.planning import costs
from tlkit.workflows import recipes


@pytest.fixture
def store():
    return Store()


def test_stage_rows_are_pooled_stage_outputs(classifier, data, store):
    found = stages.stage_features(classifier, data.train, store)
    from tlkit.features.decoded import pixel_rows

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
    first = stages.stage_features(classifier, data.train, store)
    monkeypatch.setattr(stages.engines, "compile", None)  # any pass would now fail
    again = stages.stage_features(classifier, data.train, store)
    np.testing.assert_array_equal(first.all_stages(), again.all_stages())
    assert again.rate == first.rate
    layer = classifier.backbone.net.get_layer("conv3")
    layer.kernel.assign(layer.kernel * 1.01)  # other weights are other features
    with pytest.raises(TypeError):
        stages.stage_features(classifier, data.train, store)


def test_cost_counts(classifier):
    found = costs.cost(classifier.backbone, 100.0, 2)
    adds = 16 * 16 * 27 * 8 + 8 * 8 * 72 * 12 + 4 * 4 * 108 * 16
    assert found.multiply_adds == adds
    assert found.parameters == classifier.backbone.net.count_params()
    assert found.joules == pytest.approx(costs.WATTS * 2 / 100)
    assert found.least_joules == pytest.approx(adds * 4.6e-12)
    assert found.rate == 100 and found.megabytes == pytest.approx(found.parameters * 4 / 1e6)


@pytest.fixture(scope="module")
def advised(tmp_path_factory):
    """Advice on 60 pictures for a network with random weights, written to a folder."""
    folder = tmp_path_factory.mktemp("advice")
    write_pictures(folder / "photos", 20)
    from tlkit.cli.advise import advise

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_HOME", str(folder / "home"))  # a fixture of a module is set up earlier
        found = CliRunner().invoke(advise, [
            str(folder / "photos"), "--backbones", "lenet-caffe", "--weights", "lenet-caffe=none",
            "--size", "28", "--out", str(folder / "out"), "--test-share", "0.2", "--seed", "5",
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
    recipe = recipe_format.read(folder / "advised.py")
    assert recipe["backbone"] == "lenet-caffe" and recipe["weights"] is None
    plan = recipe_format.phases_in(recipe)
    assert [dataclasses.asdict(phase) for phase in plan] == numbers["phases"]
    assert page.count("<svg") == 2 and "http" not in page and "lenet-caffe" in page
    assert "# the weights are random" in (folder / "advised.py").read_text()


def test_the_recipe_brings_the_same_images_and_network(advised):
    folder, _ = advised
    recipe = recipe_format.read(folder / "advised.py")
    assert recipe["data"]["seed"] == 5 and recipe["data"]["test_share"] == 0.2
    data = load_images(recipe["source"], **recipe["data"])
    assert len(data.test) == 12 and data.table.root == folder.parent / "photos"
    facts = json.loads((folder / "advice.json").read_text())["facts"]
    assert (facts["images"], facts["tested"], facts["classes"]) == (len(data.train), 12, 3)
    model = recipes.classifier(recipe, data.class_names)
    assert model.backbone.name == "lenet-caffe" and model.rule.size == 28


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


def test_errors(data):
    with pytest.raises(TlkitError, match="at least one"):
        advising.advise(data, [])
    with pytest.raises(TlkitError, match="photos"):
        advising.advise(data, policy="photo")
    with pytest.raises(TlkitError, match="backbone with weights"):
        advising.advise(data, ["mobilenet_v2"], weights={"resnet50": None})


def test_a_network_without_norms_is_measured_too(data, store):
    model = Classifier("lenet-caffe", data.class_names, weights=None, size=28)
    found = stages.stage_features(model, data.train, store)
    assert not found.norms and list(found.stages) == list(model.stages)
    assert all(np.isfinite(rows).all() for rows in found.stages.values())
