"""When two pictures are one: each limit by itself, and the search against comparing all pairs."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from tlkit.images import copies as duplicates
from tlkit.images.copies import Likeness
from tlkit.images.table import from_arrays

DRAW = np.random.default_rng(0)
X, Y = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64))
SKY = 128 + 30 * np.stack([X + Y, X - Y, 0.5 * X + 0.7 * Y], -1)  # smooth, no detail
GRAIN = DRAW.normal(0, 6, (64, 64, 1)) * np.ones(3)


def same(one, two, lonely=False):
    one, two = (np.clip(np.rint(part), 0, 255).astype(np.uint8) for part in (one, two))
    return duplicates.same_picture(one, two, lambda: lonely)


def correlation(one, two):
    return np.corrcoef(np.ravel(one), np.ravel(two))[0, 1]


def test_a_picture_is_itself_and_its_brighter_and_harder_copy():
    picture = SKY + GRAIN
    assert same(picture, picture) and same(picture, picture + 5)
    assert same(picture, 128 + 1.3 * (picture - 128))


# Limits: 1.4 times the contrast, 40 gray levels of brightness, either way.
@pytest.mark.parametrize("first", [0, 1])
def test_contrast_and_brightness_may_differ_only_so_much(first):
    picture = 128 + 0.6 * (SKY + GRAIN - 128)
    for change, one in (
        (picture + 38, True), (picture + 42, False),
        (128 + 1.36 * (picture - 128), True), (128 + 1.45 * (picture - 128), False),
    ):  # fmt: skip
        pair = (picture, change)[:: 1 - 2 * first]
        assert correlation(picture, change) > 0.99
        assert same(*pair, lonely=True) == one


def test_two_skies_share_their_gradients_but_not_their_detail():
    one, two = SKY + GRAIN, SKY + GRAIN[::-1]
    assert 0.93 < correlation(one, two) < 0.995
    assert not same(one, two, lonely=True)
    strong = SKY + 0.5 * GRAIN, SKY + 0.5 * GRAIN[::-1]
    assert correlation(*strong) > 0.98 and not same(*strong, lonely=True)


def test_without_detail_colour_must_agree_all_the_better():
    assert same(SKY, SKY + 3)
    bent = SKY + 5 * np.sin(14 * X)[..., None]
    assert 0.98 < correlation(SKY, bent) < 0.9985
    assert not same(SKY, bent, lonely=True)
    tiny = DRAW.uniform(0, 255, (12, 12, 3))  # too small for detail to say anything
    assert same(tiny, tiny)
    assert 0.98 < correlation(tiny, tiny + DRAW.normal(0, 8, tiny.shape)) < 0.9985
    assert not same(tiny, tiny + DRAW.normal(0, 8, tiny.shape), lonely=True)


def test_agreement_that_is_not_certain_needs_that_nothing_else_is_as_near():
    picture = SKY + GRAIN
    tinted = picture + 13 * np.stack([X * Y, -X * Y, 0 * X], -1)
    assert 0.93 < correlation(picture, tinted) < 0.995
    assert same(picture, tinted, lonely=True) and not same(picture, tinted, lonely=False)
    foreign = picture + 60 * np.stack([X * Y, -X * Y, 0 * X], -1)
    assert correlation(picture, foreign) < 0.93 and not same(picture, foreign, lonely=True)


def rows_of(sizes, hashes=None):
    """Returns arguments of `find` for one picture in many sizes, and the sides it looks at."""
    looked = []
    picture = np.clip(SKY + GRAIN, 0, 255).astype(np.uint8)
    thumb = np.asarray(Image.fromarray(picture).resize((16, 16), Image.Resampling.BOX))

    def look(row, side):
        looked.append(side)
        return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))

    hashes = [f"{i}" for i in range(len(sizes))] if hashes is None else hashes
    return (hashes, np.stack([thumb] * len(sizes)), np.array(sizes), look), looked


@pytest.mark.parametrize(
    ("one", "two", "copies"),
    [
        ((400, 300), (200, 150), True), ((400, 300), (400, 300), True),
        ((400, 300), (400, 320), False), ((400, 300), (300, 400), False),
        ((400, 300), (410, 300), True), ((20, 15), (21, 15), True),  # rounded sides of small ones
        ((400, 300), (420, 300), False),
    ],
)  # fmt: skip
def test_copies_have_the_same_aspect_ratio(one, two, copies):
    arguments, _ = rows_of([one, two])
    assert duplicates.find(*arguments) == ([(0, 1)] if copies else [])


@pytest.mark.parametrize(
    ("one", "two", "side"), [((400, 300), (800, 600), 64), ((400, 300), (60, 45), 44)]
)
def test_pictures_are_compared_as_large_as_the_smaller_side_of_the_smaller_one(one, two, side):
    for sizes in ([one, two], [two, one]):
        arguments, looked = rows_of(sizes)
        duplicates.find(*arguments)
        assert set(looked) == {side}


def test_equal_bytes_are_copies_whatever_they_show_and_are_looked_at_once():
    arguments, looked = rows_of([(9, 9), (400, 300), (9, 9), (9, 9)], ["a", "b", "a", "a"])
    assert duplicates.find(*arguments) == [(0, 2), (0, 3)] and looked == []


def test_clusters_are_connected_components():
    pairs = [(4, 2), (2, 5), (0, 1)]
    assert duplicates.clusters(6, pairs).tolist() == [0, 0, 2, 3, 2, 2]
    chain = [(i, i + 1) for i in range(50)][::-1]
    assert set(duplicates.clusters(51, chain).tolist()) == {0}


def test_rows_outside_the_test_split_that_repeat_it_are_named_with_its_first_row():
    split = np.array(["train", "test", "val", "test", "", "train"])
    clusters = np.array([0, 0, 0, 0, 4, 4])
    assert duplicates.of_test(split, clusters) == {0: 1, 2: 1}
    assert duplicates.of_test(np.array([""] * 6), clusters) == {}
    assert duplicates.of_test(None, clusters) == {}


def test_the_report_names_labels_splits_and_groups_that_disagree():
    table = from_arrays(np.zeros((6, 4, 4)), ["z", "a", "z", "z", "a", "a"], None, "here")
    table = dataclasses.replace(
        table, split=np.array(["train", "val", "train", "test", "", "val"]),
        group=np.array(["p", "q", "p", "q", "p", ""]),
    )  # fmt: skip
    clusters = np.array([0, 0, 2, 2, 4, 4])
    assert list(duplicates.report(table, clusters, [("row 9", "copy of test row 3")])) == [
        "1 images repeat the test split and are left out: row 9 (copy of test row 3).",
        "1 pictures have copies with different labels: row 0 (z) = row 1 (a).",
        "3 pictures have copies in two splits: row 0 (train) = row 1 (val), "
        "row 2 (train) = row 3 (test), row 4 (undecided) = row 5 (val).",
        "1 groups are in two of the given splits: row 1 (val) = row 3 (test).",
    ]


def thumbnails(count, copies, seed, smooth=2.0):
    """Returns natural-like uint8 [N, 16, 16, 3] of which `copies` repeat another, more or less."""
    draw = np.random.default_rng(seed)
    scale = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.rfftfreq(16)) ** smooth
    scale[0, 0] = np.inf  # no mean
    waves = draw.normal(size=(count, 16, 9)) + 1j * draw.normal(size=(count, 16, 9))
    gray = np.fft.irfft2(waves / scale, (16, 16))
    gray /= gray.std((1, 2), keepdims=True)
    # A ramp is what most pictures differ in. Copies differ in grain or, at the limit, in the ramp.
    ramp = np.broadcast_to(np.linspace(-1.7, 1.7, 16), (16, 16))
    gray += ramp * draw.normal(size=(count, 1, 1))
    noise = draw.normal(size=(copies, 16, 16)) * draw.choice([0.01, 0.2, 0.27, 0.4], (copies, 1, 1))
    noise[::3] = ramp * draw.choice([-0.26, 0.26], (len(noise[::3]), 1, 1))
    gray = np.concatenate([gray, gray[draw.integers(0, count, copies)] + noise])
    gray = gray[draw.permutation(len(gray))] * 40 + 128
    return np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def search(thumbs, **limits):
    """Returns what `find` finds where thumbnails alone decide, and all correlations of them."""
    count = len(thumbs)
    anything = {"color": -2, "detail": -2, "certain": 2, "gain": np.inf, "shift": np.inf}
    found = duplicates.find(
        [str(i) for i in range(count)], thumbs, np.full((count, 2), 16),
        lambda i, side: thumbs[i], Likeness(**{**anything, **limits}),
    )  # fmt: skip
    assert len(set(found)) == len(found) and all(i < j for i, j in found)
    return set(found), np.corrcoef(thumbs[..., 0].reshape(count, -1).astype(np.float64))


SETS = [(2, 1, 0, 2.0), (40, 30, 1, 0.0), (250, 60, 2, 1.0), (1500, 500, 3, 2.0), (120, 90, 4, 2.0)]


@pytest.mark.parametrize("planted", SETS)
def test_the_search_finds_what_comparing_all_pairs_finds(planted):
    found, every = search(thumbnails(*planted), certain=-2)
    for i, j in np.argwhere(np.triu(every > 0.965, 1)).tolist():
        crowded = (every[[i, j]] > 0.965).sum(1).max() > 11  # ten partners beside itself
        assert (i, j) in found or crowded
    assert all(every[pair] > 0.965 - 1e-5 for pair in found)


@pytest.mark.parametrize("planted", [(9, 4, 6, 2.0), *SETS[1:3]])
def test_a_pair_is_lonely_where_the_tenth_neighbour_of_both_is_far(planted):
    thumbs = thumbnails(*planted)
    found, every = search(thumbs)
    pairs, _ = search(thumbs, certain=-2)
    tenth = np.sort(1 - every, axis=1)[:, min(10, (len(thumbs) - 1) // 2)]
    for pair in pairs:
        distance, allowed = 1 - every[pair], 0.15 * min(tenth[list(pair)])
        assert (pair in found) == (distance < allowed) or abs(distance - allowed) < 1e-5


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("crowd", "others"), [(12, 10), (3, 0)])
def test_both_of_a_pair_must_be_lonely(side, crowd, others):
    draw = np.random.default_rng(3)
    one, two = draw.normal(0, 40, (2, 16, 16))
    # The first is near the second only; the second is in a crowd, half as large in small sets.
    places = [-0.1, 0.0, *[0.23] * crowd]
    gray = [one + side * place * two + draw.normal(0, 0.8, (16, 16)) for place in places]
    gray += list(draw.normal(0, 40, (others, 16, 16)))
    thumbs = np.clip(128 + np.stack(gray), 0, 255).astype(np.uint8)[..., None] * np.uint8([1, 1, 1])
    found, every = search(thumbs)
    assert every[0, 1] > 0.99 and every[0, 2] < 1 - (1 - every[0, 1]) / 0.15 < every[1, 2]
    assert (0, 1) not in found


@pytest.mark.parametrize(("contrast", "copies"), [(2.0, []), (4.0, [(0, 1)])])
def test_pictures_that_are_almost_flat_tell_nothing(contrast, copies):
    ramp = contrast * np.linspace(-1.7, 1.7, 64)[:, None, None] * np.ones((64, 64, 3))
    pictures = [np.rint(100 + level + ramp).astype(np.uint8) for level in (0, 7)]
    thumbs = np.stack([np.asarray(Image.fromarray(p).resize((16, 16))) for p in pictures])
    found = duplicates.find("ab", thumbs, np.full((2, 2), 64), lambda i, side: pictures[i])
    assert found == copies


def test_pictures_that_all_resemble_each_other_are_linked_to_their_nearest():
    found, every = search(thumbnails(300, 40, 5, 4.0), certain=-2)
    assert all(every[pair] > 0.965 - 1e-5 for pair in found)
    np.fill_diagonal(every, -1)
    best = every.argmax(1)
    mutual = {(i, int(j)) for i, j in enumerate(best) if best[j] == i and i < j}
    assert {pair for pair in mutual if every[pair] > 0.966} <= found


def test_many_planted_copies_are_all_found():
    thumbs = thumbnails(900, 200, 1)
    sizes = np.full((1100, 2), 16)
    found = duplicates.find([str(i) for i in range(1100)], thumbs, sizes, lambda i, side: thumbs[i])
    every = np.triu(np.corrcoef(thumbs[..., 0].reshape(1100, -1).astype(np.float32)) > 0.9995, 1)
    planted = set(map(tuple, np.argwhere(every).tolist()))
    assert len(planted) > 25 and planted <= set(found)
