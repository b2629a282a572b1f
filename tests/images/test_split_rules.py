"""What a split decides in small cases worked out by hand, and what its manifest vouches for."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from tests.images.test_split import by_item, checked
from tlkit.errors import TlkitError
from tlkit.evaluation.folds import grouped_folds
from tlkit.images import split
from tlkit.images.manifest import (
    changes,
    make_manifest,
    read_manifest,
    splits_of,
    verify_manifest,
    write_manifest,
)
from tlkit.images.table import ROLES


def counts(roles, labels=None, label=None):
    chosen = roles if label is None else roles[np.asarray(labels) == label]
    return [int((chosen == role).sum()) for role in ROLES]


def test_the_shares_are_those_asked_for():
    assert counts(split.split(checked([0, 1] * 60))) == [84, 18, 18]
    data = checked([0, 1] * 50)
    assert counts(split.split(data, val=0.2, test=0.1)) == [70, 20, 10]
    assert counts(split.split(data, val=0.1, test=0.4)) == [50, 10, 40]
    assert counts(split.split(data, val=0, test=0.2)) == [80, 0, 20]


def test_a_share_is_of_what_is_divided_here():
    given = np.array(["train"] * 100 + ["test"] * 60)
    roles = split.split(checked([0, 1] * 80, given=given), val=0.2, test=0.5)
    assert counts(roles) == [80, 20, 60]
    given = np.array(["train"] * 100 + ["val"] * 10)
    assert counts(split.split(checked([0, 1] * 55, given=given), val=0.2)) == [100, 10, 0]


def test_images_that_a_given_split_leaves_open_are_divided():
    given = np.array([""] * 60 + ["test"] * 40)
    assert counts(split.split(checked([0, 1] * 50, given=given), val=0.2)) == [48, 12, 40]
    given = np.array([""] * 60 + ["val"] * 20)
    roles = split.split(checked([0, 1] * 40, given=given), test=0.2)
    assert counts(roles) == [48, 20, 12] and (roles[60:] == "val").all()


def test_groups_and_copies_are_linked_through_each_other():
    labels = [0, 1] * 20
    group = ["g", "g", "", "", "h", "h", *[""] * 34]
    clusters = np.arange(40)
    clusters[[2, 5]] = 1  # row 2 copies row 1 of g, and so does row 5 of h
    for seed in range(6):
        roles = split.split(checked(labels, group=group, clusters=clusters), seed=seed)
        assert len(set(roles[[0, 1, 2, 4, 5]].tolist())) == 1


def test_rows_of_no_group_are_not_one_group():
    roles = split.split(checked([0, 1] * 20, group=[""] * 40))
    assert counts(roles) == [28, 6, 6]


def test_new_copies_follow_the_strictest_of_their_kin():
    for one, two in itertools.permutations(ROLES, 2):
        kept = np.array([one, two, "", *["train", "val", "test"] * 9])
        clusters = np.array([0, 0, 0, *range(3, 30)])
        roles = split.split(checked([0, 1] * 15, clusters=clusters), kept=kept)
        assert roles[2] == max(one, two, key=ROLES.index)
        assert roles[:2].tolist() == [one, two]


def test_new_images_fill_up_what_is_missing():
    labels = np.array([0, 1] * 60)
    before = split.split(checked(labels[:60]), val=0.2, test=0.2)
    kept = np.concatenate([before, [""] * 60])
    roles = split.split(checked(labels), val=0.2, test=0.2, kept=kept)
    assert (roles[:60] == before).all() and counts(roles) == [72, 24, 24]
    lean = np.array(["train"] * 60 + [""] * 60)
    assert counts(split.split(checked(labels), val=0.2, test=0.2, kept=lean)) == [72, 24, 24]


def test_the_smallest_bundles_are_moved_to_where_a_class_is_missing():
    group = ["big"] * 8 + ["mid"] * 3 + ["one"] + [""] * 48
    labels = [1] * 12 + [0] * 48
    for seed in range(5):
        roles = split.split(checked(labels, group=group), seed=seed)
        assert counts(roles, labels, 1) in ([8, 3, 1], [8, 1, 3])


def test_large_groups_are_placed_before_single_images_fill_the_shares():
    group = ["a"] * 6 + ["b"] * 6 + ["c"] * 6 + [""] * 62
    labels = [0] * 60 + [1] * 20
    for seed in range(4):
        roles = split.split(checked(labels, group=group), seed=seed)
        assert counts(roles, labels, 0) == [42, 9, 9]


def test_a_split_does_not_follow_names_order_or_other_classes():
    labels = np.array([0] * 30 + [1] * 30)
    one = by_item(checked(labels), split.split(checked(labels), seed=3))
    more = np.concatenate([labels, [2] * 30])
    two = by_item(checked(more), split.split(checked(more), seed=3))
    assert {item: two[item] for item in one} == one


@pytest.mark.parametrize("shares", [(-0.1, 0.2), (0.2, -0.1), (0.5, 0.5), (1, 0), (0, 1.5)])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(TlkitError, match="sum to below 1"):
        split.split(checked([0, 1] * 10), val=shares[0], test=shares[1])


# The manifest


def manifest(data):
    return make_manifest(data, split.split(data), seed=3, source="x", val_share=0.15)


def test_a_manifest_says_what_was_divided_and_how():
    data = checked([0, 1] * 10, group=["p"] * 2 + [""] * 18)
    roles = split.split(data, seed=3)
    made = make_manifest(data, roles, seed=3, source="x", val_share=0.15)
    assert made["seed"] == 3 and made["options"] == {"source": "x", "val_share": 0.15}
    assert made["classes"] == ["class0", "class1"] and made["source"] == "photos"
    assert made["columns"] == ["path", "label", "split", "group", "hash"]
    for i, item in enumerate(data.table.items):
        label, group = f"class{i % 2}", "p" if i < 2 else ""
        assert [item, label, roles[i], group, data.hashes[i]] in made["rows"]


def other(data, **table):
    return dataclasses.replace(data, table=dataclasses.replace(data.table, **table))


def test_every_column_and_the_order_of_classes_is_in_the_digest():
    data = checked([0, 1] * 10)
    roles = np.array((["train"] * 3 + ["val", "test"]) * 4)
    swapped = roles.copy()
    swapped[[0, 3]] = swapped[[3, 0]]
    made = [
        (data, roles), (data, swapped),
        (other(data, items=("new", *data.table.items[1:])), roles),
        (other(data, labels=1 - data.table.labels), roles),
        (other(data, class_names=("class1", "class0"), labels=1 - data.table.labels), roles),
        (other(data, group=np.array(["p"] + [""] * 19)), roles),
        (dataclasses.replace(data, hashes=("0" * 32, *data.hashes[1:])), roles),
    ]  # fmt: skip
    assert len({make_manifest(*one)["digest"] for one in made}) == len(made)


def test_classes_in_another_order_are_refused_though_every_image_has_its_name():
    data = checked([0, 1] * 10)
    turned = other(data, class_names=("class1", "class0"), labels=1 - data.table.labels)
    with pytest.raises(TlkitError, match="the classes are class1, class0"):
        verify_manifest(manifest(data), turned)
    more = other(data, class_names=("class0", "class1", "class2"))
    with pytest.raises(TlkitError, match="the classes are class0, class1, class2"):
        verify_manifest(manifest(data), more)


def test_differences_are_counted_and_five_of_them_named():
    data = checked([0, 1] * 10)
    changed = dataclasses.replace(data, hashes=tuple("0" * 32 for _ in data.hashes))
    assert len(changes(manifest(data), changed)) == 20
    with pytest.raises(TlkitError, match="and 15 more"):
        verify_manifest(manifest(data), changed)
    assert changes(manifest(data), data) == []


def test_items_that_a_manifest_does_not_know_have_no_role():
    data = checked([0, 1] * 10)
    made, roles = manifest(data), split.split(data)
    found = splits_of(made, [data.table.items[7], "new.jpg", data.table.items[2]])
    assert found.tolist() == [roles[7], "", roles[2]]


EDITS = {
    "a path": lambda m: m["rows"][0].__setitem__(0, "x"),
    "a label": lambda m: m["rows"][0].__setitem__(1, "class1"),
    "a group": lambda m: m["rows"][0].__setitem__(3, "x"),
    "a hash": lambda m: m["rows"][0].__setitem__(4, "x"),
    "a row less": lambda m: m["rows"].pop(),
    "the order of classes": lambda m: m["classes"].reverse(),
    "another format": lambda m: m.__setitem__("format", 0),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_manifest_is_not_read(tmp_path, edit):
    made = json.loads(json.dumps(manifest(checked([0, 1] * 10))))
    EDITS[edit](made)
    write_manifest(made, tmp_path / "manifest.json")
    with pytest.raises(TlkitError, match="was edited or belongs to another version"):
        read_manifest(tmp_path / "manifest.json")


# Folds


def test_folds_deal_every_class_evenly_and_keep_copies_together():
    draw = np.random.default_rng(0)
    labels = draw.permutation(np.repeat([0, 1, 2], [40, 23, 9]))
    clusters = np.arange(72)
    for label in (0, 1):
        twins = np.flatnonzero(labels == label)[:6]
        clusters[twins[1::2]] = clusters[twins[::2]]
    for count in (3, 5):
        folds = grouped_folds(labels, clusters, count)
        assert folds.dtype == np.int64 and set(folds.tolist()) == set(range(count))
        assert all(len(set(folds[clusters == c].tolist())) == 1 for c in clusters)
        first = np.unique(clusters, return_index=True)[1]
        for label in range(3):
            dealt = np.bincount(folds[first][labels[first] == label], minlength=count)
            assert dealt.max() - dealt.min() <= 1


def test_folds_follow_their_seed():
    labels = np.arange(60) % 3
    np.testing.assert_array_equal(grouped_folds(labels, seed=4), grouped_folds(labels, seed=4))
    assert (grouped_folds(labels, seed=4) != grouped_folds(labels, seed=5)).any()
    assert len(set(grouped_folds(labels, count=7).tolist())) == 7
