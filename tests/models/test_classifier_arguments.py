"""Every argument of `Classifier`, by what it does; `tells` demands a test for each."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest

from tests import plain_net
from tests.conftest import tiny_backbone
from tests.steps import NAMES
from tlkit.backbones import loading
from tlkit.errors import TlkitError
from tlkit.images import pixels
from tlkit.images.pixels import PixelRule
from tlkit.models import heads
from tlkit.models.classifier import Classifier, default_size
from tlkit.models.heads import Head

TOLD: set[str] = set()


def tells(*arguments):
    """Marks a test that fails where these arguments have no effect."""

    def mark(test):
        TOLD.update(arguments)
        return test

    return mark


def test_every_argument_has_a_test_of_its_effect():
    arguments = set(inspect.signature(Classifier).parameters)
    fields = {f"head.{field.name}" for field in dataclasses.fields(Head)}
    assert arguments | fields == TOLD


def lenet(**options):
    return Classifier("lenet-5", NAMES, **{"weights": None, **options})


def same(one, two):
    """Says whether two networks have bit-equal weights."""
    pairs = zip(one.get_weights(), two.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@tells("class_names")
def test_class_names_are_kept_in_their_order():
    model = Classifier(tiny_backbone(), iter(["b", "a", 7]))
    assert model.class_names == ("b", "a", "7")
    assert model.logits(np.zeros((1, 32, 32, 3))).shape == (1, 3)


@pytest.mark.parametrize("names", [(), ("one",), ("a", "a"), (1, "1")])
def test_class_names_must_be_distinct_and_two_or_more(names):
    with pytest.raises(TlkitError, match="distinct class names"):
        Classifier(tiny_backbone(), names)


@tells("backbone")
def test_a_loaded_backbone_is_taken_as_it_is():
    backbone = tiny_backbone(seed=4)
    model = Classifier(backbone, NAMES, seed=9)
    assert model.backbone.net is backbone.net
    assert same(model.backbone.net, tiny_backbone(seed=4).net)


def test_an_unknown_backbone_gets_a_suggestion():
    with pytest.raises(TlkitError, match="mobilenet_v2"):
        Classifier("mobilnet_v2", NAMES)


@pytest.mark.parametrize("saved", [False, True])
def test_a_trained_backbone_is_taken_over_as_a_copy(saved, tmp_path):
    """From the classifier or its folder, with the pixel rule that it was trained under."""
    source = Classifier(tiny_backbone(), NAMES, size=PixelRule(32, "pad"))
    source.save(tmp_path)
    heir = Classifier(str(tmp_path) if saved else source, ("x", "y"))
    one, two = source.backbone.net, heir.backbone.net
    assert same(one, two) and one is not two
    two.trainable_variables[0].assign(two.trainable_variables[0] * 2)
    assert not same(one, two)
    assert heir.stages == source.stages and heir.class_names == ("x", "y")
    assert heir.backbone.weights == "trained on red, blue, green"
    assert heir.rule == PixelRule(32, "pad")


def test_a_trained_backbone_sees_what_it_was_trained_on():
    source = Classifier(tiny_backbone(), NAMES, size=PixelRule(32, "pad"))
    assert Classifier(source, ("x", "y"), size=32).rule == PixelRule(32, "pad")
    squash = PixelRule(32, "squash")
    assert Classifier(source, ("x", "y"), size=squash).rule == squash
    for wrong, asked in ((64, "64 and 3"), (PixelRule(32, channels=1), "32 and 1")):
        with pytest.raises(TlkitError, match=f"32 pixels and 3 channels; {asked} were asked"):
            Classifier(source, ("x", "y"), size=wrong)


@tells("weights")
def test_weights_come_from_a_file_or_are_random(tmp_path):
    source = lenet(seed=1)
    file = tmp_path / "lenet.weights.h5"
    source.backbone.net.save_weights(file)
    loaded = lenet(weights=str(file), seed=2)
    assert same(loaded.backbone.net, source.backbone.net)
    assert "lenet.weights.h5" in loaded.backbone.weights
    assert lenet().backbone.weights.startswith("random")
    with pytest.raises(TlkitError, match="without ImageNet weights"):
        Classifier("lenet-5", NAMES)  # imagenet is what is asked for by default


@tells("size")
def test_the_size_is_a_number_of_pixels_or_a_whole_rule():
    assert lenet().rule == PixelRule(32) and default_size("lenet-5") == 32
    assert default_size("resnet50") == 224
    assert lenet(size=40).keras_model.input.shape[1:] == (40, 40, 3)
    assert Classifier(tiny_backbone(size=48), NAMES).rule == PixelRule(48)
    rule = PixelRule(32, "pad", 1)
    model = lenet(size=rule)
    assert model.rule == rule and model.keras_model.input.shape[1:] == (32, 32, 1)


@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_predictions_follow_the_pixel_rule(resize):
    """A white picture twice as wide as high: cut out it is white, padded it has black bars."""
    head = Head(init="scaled")
    model = Classifier(tiny_backbone(), NAMES, size=PixelRule(32, resize), head=head)
    white = np.full((1, 32, 64, 3), 255, np.uint8)
    seen = np.full((1, 32, 32, 3), 255, np.float32)
    if resize == "pad":
        seen[:, :8] = seen[:, 24:] = 0
    logits = plain_net.logits(plain_net.values(model), plain_net.preprocessed(seen)).numpy()
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(model.predict(white), expected, rtol=1e-4)


def test_gray_pictures_look_to_a_backbone_like_the_same_in_three_channels():
    gray, color = (
        Classifier("mobilenet_v2_0.35", NAMES, weights=None, size=PixelRule(32, channels=n))
        for n in (1, 3)
    )
    rows = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1)).astype(np.float32)
    found, expected = (
        model.segment("pixels", model.stages[0])(x).numpy()
        for model, x in ((gray, rows), (color, np.repeat(rows, 3, -1)))
    )
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert gray.predict(rows).shape == (2, 3)


@pytest.mark.parametrize("channels", [1, 4])
def test_every_channel_has_a_say_in_a_net_of_our_own(channels):
    model = lenet(size=PixelRule(32, "crop", channels), head=Head(init="scaled"))
    rows = np.random.default_rng(0).integers(0, 256, (1, 32, 32, channels)).astype(np.float32)
    for channel in range(channels):
        other = rows.copy()
        other[..., channel] = 0
        assert np.abs(model.logits(rows) - model.logits(other)).max() > 1e-5


@tells("head", "head.kind", "head.dropout", "head.init")
def test_a_head_is_a_name_or_its_settings():
    named = Classifier(tiny_backbone(), NAMES, head="concat_pool")
    assert named.head == Head("concat_pool", 0.2, "zero") and named.classify.input.shape[1] == 32
    assert not named.logits(np.ones((1, 32, 32, 3))).any()
    own = Classifier(tiny_backbone(), NAMES, head=Head("mlp", 0.5, "scaled"))
    assert own.classify.get_layer("hidden").units == 256
    assert [own.classify.get_layer(n).rate for n in ("dropout", "hidden_dropout")] == [0.5] * 2
    assert own.classify.get_layer("dropout").rate != Head().dropout == 0.2
    assert own.logits(np.ones((1, 32, 32, 3))).any()
    assert Classifier(tiny_backbone(), NAMES).head == Head("linear", 0.2, "zero")


@tells("replace_from")
@pytest.mark.parametrize(("start", "renewed"), [("stage3", "3"), ("stage2", "23"), ("all", "123")])
def test_replace_from_renews_these_stages_and_no_other(start, renewed):
    before = plain_net.values(Classifier(tiny_backbone(), NAMES))
    model = Classifier(tiny_backbone(), NAMES, replace_from=start, seed=1)
    after = plain_net.values(model)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    parts = ("conv{}/kernel", "norm{}/moving_mean", "norm{}/moving_variance")
    assert changed == {part.format(i) for part in parts for i in renewed}
    again = plain_net.values(Classifier(tiny_backbone(), NAMES, replace_from=start, seed=1))
    other = plain_net.values(Classifier(tiny_backbone(), NAMES, replace_from=start, seed=2))
    np.testing.assert_array_equal(after["conv3/kernel"], again["conv3/kernel"])
    assert np.abs(after["conv3/kernel"] - other["conv3/kernel"]).max() > 0.01


def test_replacing_an_unknown_stage_says_so():
    with pytest.raises(TlkitError, match="Did you mean 'stage3'"):
        Classifier(tiny_backbone(), NAMES, replace_from="stage33")


@tells("seed")
def test_the_seed_fixes_backbone_and_head_each_by_itself():
    """The head's draw is the same whether or not the backbone has drawn before it."""
    head = Head("mlp", init="scaled")
    one, again, other = (lenet(seed=seed, head=head) for seed in (5, 5, 6))
    assert same(one.keras_model, again.keras_model)
    assert not same(one.backbone.net, other.backbone.net)
    assert not same(one.classify, other.classify)
    keras.utils.set_random_seed(77)  # what was drawn before is of no account
    assert same(one.backbone.net, loading.load("lenet-5", weights=None, seed=5).net)
    keras.utils.set_random_seed(5)
    _, expected = heads.build("mlp", one.backbone.net.output.shape[1:], 3, init="scaled")
    assert same(one.classify, expected)


def test_images_are_arrays_bytes_or_paths(photos):
    model = Classifier(tiny_backbone(), NAMES, head=Head(init="scaled"))
    path = sorted((photos / "red").iterdir())[0]
    row = pixels.load_path(str(path), PixelRule(32))
    expected = model.predict(row[None])
    assert expected.shape == (1, 3)
    for image in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(model.predict([image]), expected)
