"""What a view is drawn from, how often its changes happen, and that compiled views are the same."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.augmentation.test_augment_rules import HASHES, NOISE, spreads, views
from tlkit import files
from tlkit.augmentation import apply, draws, policies
from tlkit.augmentation.pixel_changes import CHANGES
from tlkit.augmentation.policies import OPERATIONS, Change, Policy

SMALL = NOISE[:40]


def look(policy, images=SMALL, seed=0, view=0, hashes=None):
    hashes = HASHES[: len(images)] if hashes is None else hashes
    return apply.look(images, hashes, policy, seed, view)


@pytest.mark.parametrize(
    "policy",
    [Policy(rotate=20), Policy(brightness=0.3), Policy(changes=(Change("noise", 0.2),)),
     Policy(changes=(Change("shift", 0.4, 0.5),)), policies.policy("augmix")],
)  # fmt: skip
def test_seed_view_and_content_each_change_what_is_drawn(policy):
    known = [
        look(policy), look(policy, seed=1), look(policy, view=1), look(policy, seed=2**31 + 1),
        look(policy, view=2), look(policy, hashes=HASHES[40:80]),
    ]  # fmt: skip
    for i, one in enumerate(known):
        for other in known[:i]:
            differ = [not np.allclose(a, b, atol=0.5) for a, b in zip(one, other, strict=True)]
            assert np.mean(differ) > 0.25
    np.testing.assert_array_equal(look(policy), known[0])


def test_draws_take_all_of_a_seed_and_the_first_64_bits_of_content():
    seeds = [0, 1, 2**16, 2**31, 2**32 - 1]
    rows = [draws.draws(HASHES[:1], seed, 0, 3).tobytes() for seed in seeds]
    rows += [draws.draws(HASHES[:1], 0, view, 3).tobytes() for view in (1, 2, 1000)]
    names = [digit * 16 for digit in "123"] + ["0" * 15 + "1" + "0" * 16]
    rows += [draws.draws([name], 0, 0, 3).tobytes() for name in names]
    rows += [draws.draws(HASHES[:1], 0, 0, 3, stream).tobytes() for stream in ("a", "b")]
    assert len(set(rows)) == len(rows)
    assert draws.draws(HASHES, 5, 6, 3).shape == (120, 3)
    np.testing.assert_array_equal(draws.draws(HASHES, 5, 6, 9)[:, :3],
                                  draws.draws(HASHES, 5, 6, 3))  # fmt: skip


def test_numbers_are_from_zero_to_below_one_in_every_column():
    found = draws.draws([files.content_hash(i.to_bytes(4)) for i in range(3000)], 1, 2, 5)
    assert found.min() >= 0 and found.max() < 1 and found.dtype == np.float32
    for column in found.T:
        assert np.abs(np.histogram(column, 6, (0, 1))[0] - 500).max() < 100


@pytest.mark.parametrize("name", ["shift", "lens", "brightness", "elastic"])
def test_a_change_happens_to_its_share_of_the_images_and_no_other_is_touched(name):
    amount = OPERATIONS[name].limit / 2
    images = NOISE.astype(np.float32)
    some = look(Policy(changes=(Change(name, amount, 0.3),)), images)
    touched = (np.abs(some - images) > 0.05).any((1, 2, 3))
    assert 0.18 < touched.mean() < 0.42
    always = look(Policy(changes=(Change(name, amount),)), images)
    assert (np.abs(always - images) > 0.05).any((1, 2, 3)).mean() > 0.9
    np.testing.assert_allclose(some[touched], always[touched], atol=0.01)
    never = look(Policy(changes=(Change(name, amount, 0.0),)), images)
    np.testing.assert_allclose(never, images, atol=1e-3)


def test_pick_counts_changes_of_place_too():
    changes = (Change("shift", 0.8), Change("brightness", 0.9), Change("lens", 0.5))
    gray = np.linspace(90, 130, 18, dtype=np.float32)[None, None, :, None]
    images = np.broadcast_to(gray, (120, 14, 18, 3)).copy()
    for pick, expected in ((1, 1), (2, 2), (0, 3)):
        policy = Policy(changes=changes, pick=pick)
        numbers = draws.view_parameters(HASHES, (14, 18), policy, 0, 0)
        transform, lens = numbers["transform"], numbers["fields"]["lens_0"]
        moved = np.abs(transform - [1, 0, 0, 0, 1, 0, 0, 0]).max(1) > 1e-6
        lit = numbers["masks"].get("brightness_0", np.ones(120, bool))
        happened = moved.astype(int) + lit + (lens[:, 0] != 0)
        np.testing.assert_array_equal(happened, expected)
        found = look(policy, images)
        np.testing.assert_array_equal(np.abs(found - images).max((1, 2, 3)) > 1e-2, happened > 0)


def test_chains_have_one_to_pick_changes_equally_often():
    changes = tuple(Change(name, 0.3) for name in ("brightness", "contrast", "blur", "jpeg"))
    policy = Policy(changes=changes, pick=3, chains=2)
    numbers = draws.view_parameters(HASHES, (8, 8), policy, 0, 0)
    depths = [np.sum(list(chain["masks"].values()), 0) for chain in numbers["chains"]]
    for depth in depths:
        np.testing.assert_allclose(np.bincount(depth, minlength=4)[1:4] / 120, 1 / 3, atol=0.13)
        assert depth.min() == 1 and depth.max() == 3
    assert (depths[0] != depths[1]).any()


def test_shares_of_chains_are_as_the_paper_has_them():
    policy = Policy(changes=(Change("blur", 1),), pick=1, chains=3)
    many = [files.content_hash(i.to_bytes(4)) for i in range(3000)]
    weights = draws.view_parameters(many, (8, 8), policy, 0, 0)["weights"]
    np.testing.assert_allclose(np.histogram(weights[:, 0], 4, (0, 1))[0] / 3000, 0.25, atol=0.03)
    rest = weights[:, 1:] / weights[:, 1:].sum(1, keepdims=True)  # Dirichlet(1, 1, 1)
    np.testing.assert_allclose(rest.mean(0), 1 / 3, atol=0.02)
    np.testing.assert_allclose(rest.var(0), 2 / 36, atol=0.006)


def test_chains_start_from_the_image_as_the_policys_own_warp_left_it():
    still = Policy(mirror=True, brightness=0.2, changes=(Change("blur", 0),), pick=1, chains=2)
    plain = Policy(mirror=True, brightness=0.2)
    np.testing.assert_allclose(look(still), look(plain), atol=0.01)


def test_chains_are_averaged_with_the_image_by_their_shares():
    policy = Policy(changes=(Change("shift", 0.4), Change("solarize", 1)), pick=2, chains=2)
    images = SMALL.astype(np.float32)
    numbers = draws.view_parameters(HASHES[:40], images.shape[1:3], policy, 0, 0)
    unchained = dataclasses.replace(policy, chains=0)
    parts = [images] + [
        apply.apply(tf.constant(images), chain, unchained).numpy() for chain in numbers["chains"]
    ]
    expected = np.einsum("cnhwd,nc->nhwd", np.stack(parts), numbers["weights"])
    assert np.mean(np.abs(look(policy) - expected) > 0.05) < 1e-3


@pytest.mark.parametrize("fill", ["reflect", "constant", "nearest", "wrap"])
def test_the_fill_of_a_policy_lies_beyond_the_border(fill):
    image = np.full((40, 14, 18, 3), 100, np.uint8)
    image[:, :, 9:] = 60
    image[:, 1:-1, 1:-1] //= 2
    for changes in ((), (Change("lens", 0.0),)):  # one interpolation of each kind
        values = (200, 20) if fill == "constant" else (0,)
        for value in values:
            policy = Policy(shift=0.9, fill=fill, fill_value=value, changes=changes)
            found = look(policy, image)
            np.testing.assert_allclose(found, views(policy, image), atol=0.01)
            assert (np.abs(found - value) < 0.01).mean() > 0.2 or fill != "constant"
    known = {name: look(Policy(shift=0.9, fill=name), image).mean()
             for name in ("reflect", "constant", "nearest", "wrap")}  # fmt: skip
    assert min(abs(known[fill] - other) for name, other in known.items() if name != fill) > 0.05


def test_compiled_views_follow_every_value_of_the_policy():
    some = Change("solarize", 1.0)
    policies = [
        Policy(changes=(some,)), Policy(changes=(dataclasses.replace(some, amount=0.5),)),
        Policy(changes=(dataclasses.replace(some, chance=0.5),)),
        Policy(changes=(some, Change("blur", 2)), pick=1), Policy(mirror=True, changes=(some,)),
        Policy(changes=(some,), pick=1, chains=1), Policy(changes=(some,), pick=1, chains=2),
    ]  # fmt: skip
    found = [look(policy) for policy in policies]
    for policy, one in zip(policies, found, strict=True):
        assert np.mean(np.abs(one - views(policy, SMALL)) > 2e-3) < 1e-3
    assert len({one.tobytes() for one in found}) == len(policies)
    floats = SMALL.astype(np.float32) + 0.25
    np.testing.assert_allclose(look(policies[1], floats), views(policies[1], floats), atol=2e-3)


# The lowest and highest value that a change may draw at amount 0.5 (or as its unit has it).
RANGES = {
    "brightness": (-0.5, 0.5), "contrast": (-0.5, 0.5), "gamma": (1 / 1.5, 1.5),
    "colour_shift": (-0.5, 0.5), "saturation": (-0.5, 0.5), "hue": (-0.5, 0.5), "noise": (0, 0.5),
    "grain": (0, 0.5), "blur": (0, 0.5), "sharpness": (-0.5, 0.5), "erase": (0.02, 0.5),
    "jpeg": (0, 0.5), "solarize": (0, 0.5), "posterize": (0, 0.5), "autocontrast": (0, 0.5),
    "equalize": (0, 0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_the_values_of_a_change_fill_its_range(name):
    low, high = RANGES[name]
    numbers = draws.view_parameters(HASHES, (8, 8), Policy(changes=(Change(name, 0.5),)), 0, 0)
    values = numbers["values"][f"{name}_0"][:, : 3 if name == "colour_shift" else 1]
    bent = np.log(values) if name == "gamma" else values
    low, high = (np.log(low), np.log(high)) if name == "gamma" else (low, high)
    for column in bent.T:
        spreads(column - (low + high) / 2, (high - low) / 2)


def test_a_picked_change_needs_its_chance_and_a_lucky_one_to_be_picked():
    both = (Change("hue", 10, chance=0.5), Change("noise", 0.2, chance=0.5))
    names = [files.content_hash(bytes([i, j])) for i in range(20) for j in range(50)]
    found = draws.view_parameters(names, (8, 8), Policy(changes=both, pick=1), 0, 0)
    happens = np.stack([found["masks"]["hue_0"], found["masks"]["noise_0"]])
    assert not happens.all(0).any()  # one is picked, and has its chance
    assert np.abs(happens.mean(1) - 0.25).max() < 0.06
