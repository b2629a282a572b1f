"""Views depend on seed, view and image, and on nothing else."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import files
from tlkit.augmentation import apply, policies
from tlkit.augmentation import draws as drawing
from tlkit.augmentation.draws import view_parameters
from tlkit.augmentation.pixel_changes import CHANGES
from tlkit.augmentation.policies import OPERATIONS, POLICIES, Change, Policy
from tlkit.errors import TlkitError

HASHES = [files.content_hash(bytes([i])) for i in range(40)]
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 17, 21, 3)).astype(np.uint8)
ALL = Policy(mirror=True, rotate=20, changes=tuple(Change(name, 0.05) for name in OPERATIONS))


def views(policy, hashes=HASHES, images=IMAGES, seed=0, view=0):
    numbers = view_parameters(hashes, images.shape[1:3], policy, seed, view)
    return apply.apply(tf.constant(images), numbers, policy).numpy()


@pytest.mark.parametrize("name", POLICIES)
def test_shape_type_and_range_are_kept_and_graph_equals_eager(name):
    eager = views(POLICIES[name])
    assert eager.shape == IMAGES.shape and eager.dtype == np.float32
    assert eager.min() >= 0 and eager.max() <= 255.001
    graph = apply.look(IMAGES, HASHES, POLICIES[name], 0, 0)
    # a rounding of 1e-5 may move a value over a threshold of solarize or posterize
    assert np.mean(np.abs(eager - graph) > 2e-3) < 1e-3
    assert POLICIES[name].assumes


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(sorted(OPERATIONS)), st.sampled_from([1, 3, 4]), st.integers(6, 20),
    st.floats(0.01, 1), st.sampled_from(["reflect", "constant", "nearest", "wrap"]),
)  # fmt: skip
def test_every_operation_keeps_shape_type_and_range(name, channels, side, share, fill):
    images = np.random.default_rng(side).integers(0, 256, (3, side, 9, channels)).astype(np.uint8)
    policy = Policy(changes=(Change(name, share * OPERATIONS[name].limit),), fill=fill)
    found = views(policy, HASHES[:3], images)
    assert found.shape == images.shape and found.dtype == np.float32
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 255
    if channels == 4 and name in CHANGES:  # alpha stays
        np.testing.assert_array_equal(found[..., 3], images[..., 3])


def test_none_is_the_image_itself():
    np.testing.assert_array_equal(views(POLICIES["none"]), IMAGES)


# Image 0's first pixel and the mean of all, as they were before policies had `changes`.
GOLDEN = {
    "photos": [87.7942, 99.9557, 76.0997, 123.1535],
    "flip": [217.0, 163.0, 130.0, 127.3463],
    "digits": [101.6473, 95.4813, 95.6421, 127.2462],
    "textures": [102.6842, 192.9919, 63.3687, 123.1046],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_views_kept_by_older_versions_are_still_drawn_alike(name):
    found = views(POLICIES[name], seed=3, view=1)
    np.testing.assert_allclose([*found[0, 0, 0], found.mean()], GOLDEN[name], rtol=1e-4)
    assert len(POLICIES[name].key()) == 9  # the key of their kept features


@given(st.permutations(range(12)), st.integers(0, 5), st.integers(0, 3))
def test_draws_follow_the_image_not_its_place(order, seed, view):
    straight = drawing.draws(HASHES[:12], seed, view, 9)
    moved = drawing.draws([HASHES[i] for i in order], seed, view, 9)
    np.testing.assert_array_equal(straight[list(order)], moved)


@pytest.mark.parametrize("name", ["microscopy", "documents", "randaugment", "augmix"])
def test_views_follow_the_image_not_its_place_or_company(name):
    straight = apply.look(IMAGES, HASHES, POLICIES[name], 1, 2)
    order = np.random.default_rng(0).permutation(40)[:7]
    moved = apply.look(IMAGES[order], [HASHES[i] for i in order], POLICIES[name], 1, 2)
    assert np.mean(np.abs(straight[order] - moved) > 2e-3) < 1e-3


def test_draws_are_uniform_and_differ_by_seed_view_lane_and_stream():
    many = [files.content_hash(i.to_bytes(4)) for i in range(4000)]
    draws = drawing.draws(many, 0, 0, 4)
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=0.03)
    np.testing.assert_allclose(draws.std(0), 12**-0.5, atol=0.02)
    others = [drawing.draws(many, 1, 0, 4), drawing.draws(many, 0, 1, 4), draws[:, ::-1]]
    for other in [*others, drawing.draws(many, 0, 0, 4, "blur")]:
        assert abs(np.corrcoef(draws.ravel(), other.ravel())[0, 1]) < 0.03


def test_one_more_change_does_not_alter_the_others():
    one = view_parameters(HASHES, (8, 8), Policy(changes=(Change("blur", 1),)), 0, 0)
    both = Policy(changes=(Change("noise", 0.1), Change("blur", 1)))
    two = view_parameters(HASHES, (8, 8), both, 0, 0)
    np.testing.assert_array_equal(one["values"]["blur_0"], two["values"]["blur_0"])


@pytest.mark.parametrize("name", POLICIES)
def test_strength_is_one_number(name):
    row = POLICIES[name]
    assert policies.policy(name) is row
    still = policies.policy(name, 0)
    assert still.key() == POLICIES["none"].key()
    np.testing.assert_array_equal(views(still), IMAGES)
    half, double = row.scaled(0.5), row.scaled(2)
    assert half.rotate == row.rotate / 2 and half.mirror == row.mirror
    assert half.alpha == row.alpha / 2
    for weak, one, strong in zip(half.changes, row.changes, double.changes, strict=True):
        assert weak.amount == one.amount / 2
        assert strong.amount == min(2 * one.amount, OPERATIONS[one.name].limit)


def test_strength_scales_every_amount_up_to_its_limit():
    row = Policy(
        rotate=100, zoom=1, shift=0.1, brightness=0.2, contrast=0.3, fill="wrap", fill_value=9,
        changes=(Change("blur", 1.5, 0.4), Change("jpeg", 20)), pick=1, chains=2,
    )  # fmt: skip
    double = row.scaled(2)
    assert (double.rotate, double.zoom, double.shift) == (180, 2, 0.2)
    assert (double.brightness, double.contrast) == (0.4, 0.6)
    assert double.changes == (Change("blur", 2, 0.4), Change("jpeg", 40))
    assert (double.fill, double.fill_value, double.pick, double.chains) == ("wrap", 9, 1, 2)
    assert dataclasses.replace(row, mix="mixup", alpha=0.2).scaled(3).alpha == pytest.approx(0.6)


# Writing and hearts are never mirrored; only what has no up is turned upside down.
SYMMETRIES = {
    "mirror": {"photos", "flip", "textures", "aerial", "microscopy", "randaugment", "augmix",
               "mixup", "cutmix"},
    "upside_down": {"textures", "aerial", "microscopy"},
    "quarter_turns": {"textures", "aerial", "microscopy"},
}  # fmt: skip


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_only_some_kinds_of_images_have_a_symmetry(symmetry):
    assert {n for n, row in POLICIES.items() if getattr(row, symmetry)} == SYMMETRIES[symmetry]


def test_a_weak_view_is_near_the_image():
    smooth = np.tile(np.linspace(60, 180, 32, dtype=np.float32)[:, None, None], (8, 1, 32, 3))
    away = [
        np.abs(views(ALL.scaled(s), HASHES[:8], smooth) - smooth).mean() for s in (0.01, 0.1, 1)
    ]
    assert away[0] < 2 and away[0] < away[1] < away[2]


def test_pick_applies_that_many_changes():
    changes = tuple(Change(name, 0.3) for name in ("brightness", "contrast", "blur", "jpeg"))
    numbers = view_parameters(HASHES, (8, 8), Policy(changes=changes, pick=2), 0, 0)
    counts = np.sum(list(numbers["masks"].values()), 0)
    np.testing.assert_array_equal(counts, 2)
    assert all(5 < mask.sum() < 35 for mask in numbers["masks"].values())


def _names(policy):
    return {change.name for change in POLICIES[policy].changes}


def test_augmix_is_an_average_of_the_image_and_chains():
    numbers = view_parameters(HASHES, (17, 21), POLICIES["augmix"], 0, 0)
    np.testing.assert_allclose(numbers["weights"].sum(1), 1, rtol=1e-5)
    assert numbers["weights"].min() >= 0
    for chain in numbers["chains"]:
        assert set(chain["masks"]) == {f"{n}_0" for n in CHANGES if n in _names("augmix")}
        assert 1 <= np.sum(list(chain["masks"].values()), 0).max() <= 3
    bright = Policy(changes=(Change("brightness", 0.4),), pick=1, chains=3)
    gray = np.full((40, 8, 8, 3), 120.0, np.float32)
    parts = view_parameters(HASHES, (8, 8), bright, 0, 0)
    offsets = np.concatenate([c["values"]["brightness_0"] for c in parts["chains"]], 1) * 255
    expected = 120 + np.sum(parts["weights"][:, 1:] * offsets, 1)
    np.testing.assert_allclose(views(bright, images=gray)[:, 0, 0, 0], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "dtype"), [("aerial", "uint8"), ("augmix", "float32"), ("none", "uint8")]
)
def test_a_dataset_step_gives_the_same_views(name, dtype):
    step = apply.dataset_step(POLICIES[name], seed=2, view=1)
    images = IMAGES.astype(dtype)
    dataset = tf.data.Dataset.from_tensor_slices((images, HASHES, np.arange(40))).batch(16)
    found = list(dataset.map(step, num_parallel_calls=2).as_numpy_iterator())
    pixels = np.concatenate([batch[0] for batch in found])
    assert pixels.dtype == dtype and pixels.shape == images.shape
    np.testing.assert_array_equal(np.concatenate([batch[2] for batch in found]), np.arange(40))
    expected = views(POLICIES[name], images=images, seed=2, view=1)
    near = 0.501 if dtype == "uint8" else 2e-3
    assert np.mean(np.abs(pixels - expected) > near) < 1e-3


def test_a_dataset_step_cannot_mix():
    with pytest.raises(TlkitError, match="all training images"):
        apply.dataset_step(POLICIES["mixup"], 0, 0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: policies.policy("photo"), "Did you mean 'photos'"),
        (lambda: policies.policy("photos", -1), "0 or more"),
        (lambda: policies.policy("photos", float("nan")), "0 or more"),
        (lambda: Change("blurr", 1), "Did you mean 'blur'"),
        (lambda: Change("blur", 9), "must be 0 to 2"),
        (lambda: Change("blur", 1, 2), "chance 0 to 1"),
        (lambda: Policy(fill="mirror"), "Unknown fill mode"),
        (lambda: Policy(mix="mixup"), "give both or neither"),
        (lambda: Policy(mix="mixin", alpha=1), "Did you mean"),
        (lambda: Policy(pick=1), "pick must be"),
        (lambda: Policy(changes=(Change("blur", 1),), chains=3), "chains need 1"),
    ],
)
def test_mistakes_are_named(make, says):
    with pytest.raises(TlkitError, match=says):
        make()


def test_every_value_is_part_of_the_key():
    base = Policy(changes=(Change("blur", 1),), pick=1)
    other = {
        "mirror": True, "upside_down": True, "quarter_turns": True, "rotate": 1, "zoom": 1,
        "shift": 1, "brightness": 1, "contrast": 1, "fill": "wrap", "fill_value": 1,
        "changes": (Change("blur", 2),), "pick": 0, "chains": 1,
    }  # fmt: skip
    keys = {dataclasses.replace(base, **{name: value}).key() for name, value in other.items()}
    mixes = {dataclasses.replace(base, mix=mix, alpha=1).key() for mix in ("mixup", "cutmix")}
    assert len(keys | mixes | {base.key()}) == len(other) + 3
    assert dataclasses.replace(base, assumes="something").key() == base.key()
