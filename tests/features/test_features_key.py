"""One store, asked with each part of the key changed in turn."""

import dataclasses
import importlib.metadata
import importlib.util

import numpy as np
import pytest

from tests.conftest import UNSORTED, tiny_backbone
from tests.pictures import Watched, assert_rows, expected, images_of, noise, taken
from tlkit.augmentation import policies
from tlkit.backbones.preprocess import Preprocess
from tlkit.features import decoded
from tlkit.features.frozen import Frozen, View
from tlkit.features.store import Store
from tlkit.images import pixels
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head

GRAY = noise(5, (36, 44))  # one or three channels can be made of it
OTHER = np.concatenate([255 - GRAY[:1], GRAY[1:]])
PHOTOS = policies.policy("photos")
FLIP = View(PHOTOS, seed=3, number=1)
CROP = PixelRule(32)


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that features depend on, but the images."""

    rule: PixelRule = CROP
    weights: int = 0
    shift: float = 0.0  # of a moving mean, which no training step changes by a gradient
    kind: str = "tf"
    head: str = "linear"
    boundary: str = "stage2"
    view: View = FLIP
    engine: str = "keras"

    def frozen(self, folder):
        """Returns the frozen part with a new look at the store in `folder`."""
        backbone = tiny_backbone(self.weights, self.rule.size)
        backbone.net.get_layer("norm1").moving_mean.assign_add([self.shift] * 8)
        changed = dataclasses.replace(
            backbone, preprocess=Preprocess(self.kind, 3, name="preprocess")
        )
        model = Classifier(changed, UNSORTED, size=self.rule, head=Head(self.head))
        return Frozen(model, Watched(folder, engine=self.engine))


CHANGES = {
    "nothing": {},
    "weights": {"weights": 1},
    "statistics": {"shift": 0.1},
    "preprocessing": {"kind": "torch"},
    "size": {"rule": PixelRule(40)},
    "bars": {"rule": PixelRule(32, "pad")},
    "aspect": {"rule": PixelRule(32, "squash")},
    "channels": {"rule": PixelRule(32, channels=1)},
    "boundary below": {"boundary": "stage1"},
    "boundary above": {"boundary": "stage3"},
    "policy": {"view": dataclasses.replace(FLIP, policy=policies.policy("textures"))},
    "strength": {"view": dataclasses.replace(FLIP, policy=PHOTOS.scaled(0.5))},
    "seed": {"view": dataclasses.replace(FLIP, seed=4)},
    "number": {"view": dataclasses.replace(FLIP, number=2)},
    "plain": {"view": View()},
    "pooled": {"boundary": "pooled"},
    "pooled twice": {"boundary": "pooled", "head": "concat_pool"},
    "engine": {"engine": "constants"},
}


def test_each_part_of_the_key_has_rows_of_its_own_and_finds_them_again(tmp_path):
    asked = {}
    for name, change in CHANGES.items():
        setup = Setup(**change)
        images, frozen = images_of(GRAY), setup.frozen(tmp_path)
        rows = frozen.rows(images, setup.boundary, setup.view)
        kind = frozen.kind(images, setup.boundary, setup.view)
        assert len(frozen.store.computed_of(kind)) == len(images), f"{name}: found another's rows"
        wanted = expected(frozen.model, images, setup.boundary, setup.view)
        assert_rows(rows, wanted)
        asked[name] = setup, images, frozen.model, rows
    for name, (setup, images, model, rows) in asked.items():
        again = Frozen(model, Watched(tmp_path, engine=setup.engine))
        np.testing.assert_array_equal(again.rows(images, setup.boundary, setup.view), rows)
        assert again.store.computed == [], f"{name}: was not found again"


def test_of_changed_images_the_changed_ones_are_computed(tmp_path):
    setup = Setup()
    frozen = setup.frozen(tmp_path)
    before = frozen.rows(images_of(GRAY), "stage2", FLIP)
    frozen.store.computed.clear()
    images = images_of(OTHER)
    rows = frozen.rows(images, "stage2", FLIP)
    assert frozen.store.computed_of(frozen.kind(images, "stage2", FLIP)) == [images.hashes[0]]
    assert_rows(rows, expected(frozen.model, images, "stage2", FLIP))
    np.testing.assert_array_equal(rows[1:], before[1:])


def test_a_mixed_row_depends_on_all_that_its_partner_is_drawn_from():
    store = Watched(engine="keras")
    frozen = Frozen(Setup().frozen(None).model, store)
    view = View(policies.Policy(mix="mixup", alpha=1.0))
    for pictures in (GRAY, OTHER):
        images = images_of(pictures)
        frozen.rows(images, "pooled", view)
        assert store.computed_of(frozen.kind(images, "pooled", view)) == list(images.hashes)


def test_what_does_not_change_a_row_is_not_in_its_key():
    store, images = Watched(), images_of(noise(5))
    rows = Frozen(Classifier(tiny_backbone(), UNSORTED), store).rows(images, "stage2", View())
    store.computed.clear()
    order = np.array([3, 1, 4])
    other = dataclasses.replace(taken(images, order), role="val", class_names=("a", "b"))
    heir = Classifier(tiny_backbone(), ("a", "b"), head=Head("concat_pool", 0.5, "scaled"), seed=7)
    heir.backbone.net.get_layer("conv3").kernel.assign_add(np.ones((3, 3, 12, 16)))
    heir.temperature = 3.0
    found = Frozen(heir, store).rows(other, "stage2", View(seed=5, number=9))
    np.testing.assert_array_equal(found, rows[order])
    assert store.computed == []


@pytest.mark.parametrize("package", ["tensorflow", "keras", "openvino"])
def test_another_version_of_what_computes_is_another_key(package, monkeypatch):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    real, images = importlib.metadata.version, images_of(noise(2))
    frozen = Frozen(Classifier(tiny_backbone(), UNSORTED), Store())
    before = frozen.kind(images, "stage2", View())
    assert frozen.kind(images, "stage2", View()) == before

    def version(name):
        return "0.0" if name == package else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert frozen.kind(images, "stage2", View()) != before


def test_each_pixel_rule_has_pixels_of_its_own(tmp_path):
    rules = [PixelRule(*rule) for rule in ((32,), (24,), (32, "pad"), (32, "squash"))]
    images = images_of(noise(4))
    for rule in rules:
        store = Watched(tmp_path)
        wanted = [pixels.load_pixels(images.table.read(i), rule) for i in range(4)]
        np.testing.assert_array_equal(decoded.pixel_rows(store, images, rule), wanted)
        assert len(store.computed) == 1
    for rule in rules:
        store = Watched(tmp_path)
        decoded.pixel_rows(store, images, rule)
        assert store.computed == []


def test_pixels_of_gray_pictures_are_kept_by_their_channels():
    store, images = Watched(), images_of(GRAY)
    shapes = [decoded.pixel_rows(store, images, PixelRule(32, channels=n)).shape for n in (1, 3)]
    assert shapes == [(5, 32, 32, 1), (5, 32, 32, 3)]


def test_weights_that_were_trained_since_are_found_after_forget():
    store, images = Watched(), images_of(noise(3))
    frozen = Frozen(Classifier(tiny_backbone(), UNSORTED), store)
    keys = {end: frozen.fingerprint(end) for end in ("stage1", "stage2", "pooled")}
    before = frozen.rows(images, "stage2", View())
    kernel = frozen.model.backbone.net.get_layer("conv2").kernel
    kernel.assign(kernel * 2)
    frozen.forget()
    rows = frozen.rows(images, "stage2", View())
    assert_rows(rows, expected(frozen.model, images, "stage2", View()))
    assert not np.array_equal(rows, before)
    assert [end for end in keys if frozen.fingerprint(end) == keys[end]] == ["stage1"]
    kernel.assign(kernel / 2)
    frozen.forget()
    store.computed.clear()
    np.testing.assert_array_equal(frozen.rows(images, "stage2", View()), before)
    assert store.computed == []
