"""What every split must keep, whatever the data: tried on many drawn tables."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.images import split
from tlkit.images.checks import Checked
from tlkit.images.manifest import (
    make_manifest,
    read_manifest,
    splits_of,
    verify_manifest,
    write_manifest,
)
from tlkit.images.table import ROLES, Table


def checked(labels, given=None, group=None, clusters=None, order=None):
    """Returns rows that passed the gate, without any image behind them."""
    count = len(labels)
    order = np.arange(count) if order is None else order
    labels, clusters = np.asarray(labels), np.arange(count) if clusters is None else clusters
    names = tuple(f"class{i}" for i in range(labels.max() + 1))
    items = tuple(f"{names[labels[i]]}/{i}.jpg" for i in order)
    column = {"split": given, "group": group}
    column = {key: None if v is None else np.asarray(v)[order] for key, v in column.items()}
    table = Table("photos", Path("photos"), items, labels[order], names, **column)
    hashes = tuple(files.content_hash(str(i).encode()) for i in order)
    return Checked(table, hashes, (), [], np.asarray(clusters)[order], [], [])


def by_item(data, roles):
    return dict(zip(data.table.items, roles.tolist(), strict=True))


@st.composite
def tables(draw):
    classes = draw(st.integers(2, 5))
    sizes = draw(st.lists(st.integers(10, 40), min_size=classes, max_size=classes))
    labels = np.repeat(np.arange(classes), sizes)
    count = len(labels)
    # Pairs at random rows: groups, and copies that may cross groups and classes.
    pairs = draw(
        st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=4)
    )
    group = np.full(count, "", "<U8")
    for i, (a, b) in enumerate(pairs[::2]):
        group[[a, b]] = f"g{i}"
    clusters = np.arange(count)
    for a, b in pairs[1::2]:
        clusters[clusters == clusters[b]] = clusters[a]
    return labels, group, clusters, draw(st.integers(0, 999))


@settings(max_examples=30, deadline=None)
@given(tables())
def test_every_split_is_complete_whole_and_repeatable(drawn):
    labels, group, clusters, seed = drawn
    data = checked(labels, group=group, clusters=clusters)
    roles = split.split(data, seed=seed)
    assert set(roles.tolist()) == set(ROLES) and len(roles) == len(labels)
    for keys in (group, clusters):
        for key in set(keys.tolist()) - {""}:
            assert len(set(roles[keys == key].tolist())) == 1
    for role in ROLES:
        assert set(labels[roles == role].tolist()) == set(labels.tolist())
    order = np.random.default_rng(seed).permutation(len(labels))
    again = checked(labels, group=group, clusters=clusters, order=order)
    assert by_item(again, split.split(again, seed=seed)) == by_item(data, roles)


@pytest.mark.parametrize("seed", range(40))
def test_a_rare_class_is_in_every_split(seed):
    labels = np.array([0] * 95 + [1] * 5)
    roles = split.split(checked(labels), val=0.2, test=0.2, seed=seed)
    assert [int(((roles == role) & (labels == 1)).sum()) for role in ROLES] == [3, 1, 1]
    assert [int((roles == role).sum()) for role in ROLES] == [60, 20, 20]


def test_shares_are_kept_within_each_class():
    labels = np.repeat([0, 1, 2], [200, 100, 40])
    roles = split.split(checked(labels))
    for label, size in enumerate((200, 100, 40)):
        for role in ("val", "test"):
            assert ((roles == role) & (labels == label)).sum() == round(0.15 * size)


def test_seeds_differ():
    data = checked([0, 1] * 50)
    assert (split.split(data, seed=0) != split.split(data, seed=1)).any()


def test_large_groups_go_to_train():
    labels = [0] * 60 + [1] * 60
    group = ["big"] * 40 + [str(i // 4) for i in range(80)]
    roles = split.split(checked(labels, group=group))
    assert set(roles[:40].tolist()) == {"train"} and 6 <= (roles == "test").sum() <= 24


@pytest.mark.parametrize("parts, made", [
    ({"train", "test"}, {"train", "val", "test"}), ({"train"}, {"train", "val"}),
    ({"train", "val"}, {"train", "val"}), ({"", "test"}, {"train", "val", "test"}),
    ({"train", "val", "test"}, {"train", "val", "test"}),
])  # fmt: skip
def test_given_splits_are_respected(parts, made):
    given = np.array(sorted(parts) * 20)
    pairs = len(parts)  # consecutive rows go through the parts, then to the other class
    roles = split.split(checked(np.arange(len(given)) // pairs % 2, given=given))
    assert set(roles.tolist()) == made
    assert (roles[given == "test"] == "test").all() and (roles[given == "val"] == "val").all()
    assert not (roles[given != "test"] == "test").any()
    if "val" in parts:
        assert (roles[given == "train"] == "train").all()


def test_known_rows_keep_their_role_and_new_copies_follow_them():
    labels = np.array([0, 1] * 30)
    before = split.split(checked(labels))
    more = np.concatenate([labels, [0, 1, 0, 1]])
    tested = int(np.flatnonzero(before == "test")[0])
    clusters = np.arange(len(more))
    clusters[60] = tested
    kept = np.concatenate([before, ["", "", "", ""]])
    roles = split.split(checked(more, clusters=clusters), kept=kept)
    assert (roles[:60] == before).all() and roles[60] == "test" and "" not in roles


def test_the_users_word_counts_more_than_memory():
    given = np.array(["train"] * 20 + ["test"] * 4)
    roles = split.split(checked([0, 1] * 12, given=given), kept=np.array(["test"] * 24))
    assert set(roles[:20].tolist()) == {"train", "val"} and set(roles[20:].tolist()) == {"test"}


def test_zero_shares_make_no_split():
    assert set(split.split(checked([0, 1] * 10), test=0).tolist()) == {"train", "val"}
    assert set(split.split(checked([0, 1] * 10), test=0, val=0).tolist()) == {"train"}


def test_what_cannot_be_divided_is_named():
    with pytest.raises(TlkitError, match=r"'class1' has 2 images: too few.*set a share to 0"):
        split.split(checked([0] * 30 + [1, 1]))
    with pytest.raises(TlkitError, match=r"'class1' has 9 images in 2 groups that may not be"):
        split.split(checked([0] * 30 + [1] * 9, group=[""] * 30 + ["p"] * 5 + ["q"] * 4))
    with pytest.raises(TlkitError, match="sum to below 1"):
        split.split(checked([0, 1] * 10), val=0.5, test=0.5)


def manifest(data, **options):
    return make_manifest(data, split.split(data), **options)


def test_the_manifest_survives_disk(tmp_path):
    data = checked([0, 1] * 10)
    made = manifest(data, seed=3, source="x")
    write_manifest(made, tmp_path / "manifest.json")
    read = read_manifest(tmp_path / "manifest.json")
    assert read == json.loads(json.dumps(made))
    assert (splits_of(read, data.table.items) == split.split(data)).all()
    verify_manifest(read, data)


def test_the_manifest_does_not_depend_on_order():
    labels = np.array([0, 1] * 10)
    shuffled = checked(labels, order=np.random.default_rng(0).permutation(20))
    assert manifest(shuffled)["rows"] == manifest(checked(labels))["rows"]
    assert manifest(shuffled)["digest"] == manifest(checked(labels))["digest"]


def changed(row, column, value):
    def change(made):
        made["rows"][row][column] = value

    return change


CHANGES = {
    "class0/0.jpg has other content": changed(0, 4, "0" * 32),
    "class0/0.jpg was 'class1' and is 'class0'": changed(0, 1, "class1"),
    "class0/0.jpg is new": lambda made: made["rows"].pop(0),
    "more.jpg is gone": lambda made: made["rows"].append(["more.jpg", "class0", "val", "", "x"]),
}


@pytest.mark.parametrize("message", CHANGES)
def test_changed_data_is_refused(message):
    data = checked([0, 1] * 10)
    made = manifest(data)
    CHANGES[message](made)
    with pytest.raises(TlkitError, match=message):
        verify_manifest(made, data)


def test_an_edited_or_torn_manifest_is_refused(tmp_path):
    path = tmp_path / "manifest.json"
    write_manifest(manifest(checked([0, 1] * 10)), path)
    text = path.read_text()
    path.write_text(text.replace('"test"', '"train"', 1))
    with pytest.raises(TlkitError, match="edited"):
        read_manifest(path)
    path.write_text(text[:-9])
    with pytest.raises(TlkitError, match="Cannot read the manifest"):
        read_manifest(path)
