"""Classes change, what is known about the others does not."""

import numpy as np
import pytest

from tests.conftest import tiny_backbone
from tlkit.errors import TlkitError
from tlkit.images.pixels import PixelRule
from tlkit.models import heads
from tlkit.models.classes import update_classes
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head

NAMES = ("ant", "bee", "cat", "dog")


def trained(kind="linear", names=NAMES):
    """A classifier whose head has seen better than zeros."""
    head, rule = Head(kind, dropout=0.3, init="scaled"), PixelRule(32, "pad")
    model = Classifier(tiny_backbone(), names, head=head, size=rule)
    draw = np.random.default_rng(1)
    for weight in model.classify.weights:
        weight.assign(draw.normal(size=weight.shape))
    model.temperature = 1.5
    return model


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)


def last(model):
    return [weight.numpy() for weight in model.classify.get_layer("logits").weights]


@pytest.mark.parametrize("kind", sorted(heads.HEADS))
def test_columns_that_stay_are_bit_equal_and_the_old_model_is_untouched(kind, rows):
    old = trained(kind)
    before = [w.copy() for w in old.keras_model.get_weights()]
    logits = old.logits(rows)
    new = update_classes(
        old, rename={"cat": "kitten"}, drop=["dog"], merge={"insect": ["ant", "bee"]}, add=["elk"]
    )
    assert new.class_names == ("elk", "insect", "kitten")
    (old_kernel, old_bias), (kernel, bias) = last(old), last(new)
    np.testing.assert_array_equal(kernel[:, 2], old_kernel[:, 2])
    assert bias[2] == old_bias[2]
    assert new.temperature == 1.5 and new.head == old.head and new.rule == old.rule
    for one, two in zip(before, old.keras_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    answers = new.logits(rows)
    np.testing.assert_allclose(answers[:, 2], logits[:, 2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(answers[:, 0], answers[:, 1:].mean(1), rtol=1e-4, atol=1e-4)
    merged = logits[:, :2].mean(1) + np.log(2)
    np.testing.assert_allclose(answers[:, 1], merged, rtol=1e-4, atol=1e-4)
    assert (merged <= np.logaddexp(logits[:, 0], logits[:, 1]) + 1e-5).all()
    assert (answers.argmax(1) != 0).all()  # the added class waits for its training


def test_renaming_and_ordering_change_nothing_but_places(rows):
    old = trained()
    new = update_classes(old, rename={"ant": "zebu"})
    assert new.class_names == ("bee", "cat", "dog", "zebu")
    back = update_classes(new, rename={"zebu": "ant"}, order=["dog", "ant", "bee", "cat"])
    for one, two in zip(last(old), last(back), strict=True):
        np.testing.assert_array_equal(one[..., [3, 0, 1, 2]], two)
    np.testing.assert_array_equal(back.logits(rows), old.logits(rows)[:, [3, 0, 1, 2]])
    unsorted = update_classes(back, add=["bat"])
    assert unsorted.class_names == ("dog", "ant", "bee", "cat", "bat")


@pytest.mark.parametrize("kind", sorted(heads.HEADS))
def test_saved_and_loaded_it_answers_the_same(kind, tmp_path, rows):
    new = update_classes(trained(kind), merge={"pet": ["cat", "dog"]}, add=["elk"])
    new.save(tmp_path / "model")
    loaded = Classifier.load(tmp_path / "model")
    assert loaded.class_names == ("ant", "bee", "elk", "pet")
    for one, two in zip(last(new), last(loaded), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(loaded.logits(rows), new.logits(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"drop": ["cow"]}, "Unknown class 'cow'"),
        ({"rename": {"ant": "bee"}}, "Two classes would be called 'bee'"),
        ({"add": ["dog"]}, "Two classes would be called 'dog'"),
        ({"drop": ["ant"], "rename": {"ant": "fly"}}, "in two changes"),
        ({"merge": {"pet": ["dog"]}}, "two or more"),
        ({"merge": {"ant": ["cat", "dog"]}}, "class that stays"),
        ({"merge": {"a": ["cat", "dog"], "b": ["cat", "ant"]}}, "in two changes"),
        ({"drop": ["ant", "bee", "cat"]}, "two or more distinct"),
        ({"order": ["ant", "bee"]}, "order must hold"),
        ({"order": ["ant", "bee", "cat", "cat"]}, "order must hold"),
        ({"rename": {"cow": "ant"}}, "Unknown class 'cow'"),
        ({"merge": {"pet": ["cat", "cow"]}}, "Unknown class 'cow'"),
        ({"rename": {"ant": "pet"}, "merge": {"pet": ["cat", "dog"]}}, "class that stays"),
        ({"merge": {"pet": ["cat", "cat"]}}, "in two changes"),
        ({"add": ["elk", "elk"]}, "Two classes would be called 'elk'"),
        ({"add": ["pet"], "merge": {"pet": ["cat", "dog"]}}, "Two classes would be called 'pet'"),
    ],
)
def test_what_cannot_be_done_is_said(changes, words):
    with pytest.raises(TlkitError, match=words):
        update_classes(trained(), **changes)


def test_a_merged_class_may_keep_the_name_of_a_member():
    new = update_classes(trained(), merge={"cat": ["cat", "dog"]})
    assert new.class_names == ("ant", "bee", "cat")


def test_names_and_columns_by_hand():
    """Classes that are not in the alphabet's order, with the numbers 1 to 4 and 10 to 40."""
    old = trained(names=("dog", "ant", "cat", "bee"))
    kernel, bias = old.classify.get_layer("logits").weights
    kernel.assign(np.ones((16, 1)) * [1, 2, 3, 4])
    bias.assign([10, 20, 30, 40])
    changes = {"rename": {"ant": "zoo"}, "merge": {"pet": ["cat", "dog"]}, "add": ["elk"]}
    new = update_classes(old, **changes)
    assert new.class_names == ("pet", "zoo", "bee", "elk")
    kernels, biases = [2, 2, 4, 8 / 3], [20 + np.log(2), 20, 40, (80 + np.log(2)) / 3]
    np.testing.assert_allclose(last(new)[0], np.ones((16, 1)) * kernels, rtol=1e-6)
    np.testing.assert_allclose(last(new)[1], biases, rtol=1e-6)
    turned = update_classes(old, **changes, order=["elk", "bee", "zoo", "pet"])
    assert turned.class_names == ("elk", "bee", "zoo", "pet")
    np.testing.assert_allclose(last(turned)[1], biases[::-1], rtol=1e-6)
    fewer = update_classes(old, drop=["ant"], merge={"all": ["dog", "cat", "bee"]}, add=["x", "b"])
    assert fewer.class_names == ("all", "x", "b")
    np.testing.assert_allclose(last(fewer)[1], [80 / 3 + np.log(3)] * 3, rtol=1e-6)


def test_the_new_classifier_shares_nothing_with_the_old_one(rows):
    old = trained("mlp")
    new = update_classes(old, order=["dog", "cat", "bee", "ant"])
    before = old.logits(rows)
    np.testing.assert_allclose(new.logits(rows), before[:, ::-1], rtol=1e-5, atol=1e-5)
    assert (new.rule, new.head, new.temperature) == (old.rule, old.head, 1.5)
    for variable in [*new.backbone.net.variables, *new.classify.trainable_variables]:
        variable.assign(variable + 1)
    np.testing.assert_array_equal(old.logits(rows), before)
