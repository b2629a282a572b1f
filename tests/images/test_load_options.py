"""Each option of loading images, by what it changes in what is loaded."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from tests.conftest import UNSORTED
from tests.images.test_table import TfdsStandIn
from tlkit import files
from tlkit.errors import TlkitError
from tlkit.images import manifest
from tlkit.images.dataset import Data, load_images, read_images
from tlkit.images.table import ROLES

DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (90, 8, 8, 3), np.uint8)
LABELS = np.arange(90) % 3


def folder_of(folder, counts, bad=0, offset=0):
    """Writes pictures of noise, `counts` of each class, and some files that are none."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = np.random.default_rng([offset, ord(name[0]), i]).integers(0, 256, (8, 8, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{offset}_{i}.png")
    for i in range(bad):
        (folder / min(counts) / f"bad{i}.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def folder(tmp_path):
    return folder_of(tmp_path / "photos", {"a": 20, "b": 20})


def sizes(data):
    return [len(data.train), len(data.val), len(data.test)]


def roles(data):
    return dict(zip(data.table.items, data.splits.tolist(), strict=True))


def test_the_shares_are_of_validation_and_of_test_images(folder):
    assert sizes(load_images(folder, val_share=0.3, test_share=0.1)) == [24, 12, 4]
    assert sizes(load_images(folder, val_share=0.1, test_share=0.3)) == [24, 4, 12]
    assert sizes(load_images(folder, test_share=0)) == [34, 6, 0]
    assert sizes(load_images(folder)) == [28, 6, 6]
    assert sizes(load_images(folder, val_share=0.3)) == [22, 12, 6]
    assert load_images(folder).warnings == ()  # one split did not become another's memory


def test_each_seed_has_a_split_and_a_memory_of_its_own(folder, private_home):
    found = {seed: roles(load_images(folder, seed=seed)) for seed in (0, 1, 2)}
    assert len({tuple(sorted(one.items())) for one in found.values()}) == 3
    for seed, one in found.items():
        assert roles(load_images(folder, seed=seed)) == one
    assert len(list(private_home.glob("data/*/manifest.json"))) == 3
    assert load_images(folder, seed=2).manifest["seed"] == 2


def test_max_bad_is_a_limit_of_loading_reading_and_loading_again(tmp_path):
    folder = folder_of(tmp_path / "photos", {"a": 18, "b": 18}, bad=4)
    with pytest.raises(TlkitError, match=r"max_bad=0\.05"):
        load_images(folder)
    with pytest.raises(TlkitError, match="4 of 40 images"):
        load_images(folder, max_bad=0.09)
    data = load_images(folder, max_bad=0.1)
    assert len(data.table) == 36 and len(data.quarantine) == 4
    manifest.write_manifest(data.manifest, tmp_path / "manifest.json")
    assert len(Data.from_manifest(tmp_path / "manifest.json").table) == 36
    with pytest.raises(TlkitError, match="4 of 40 images"):
        read_images(folder, ("a", "b"), max_bad=0.09)
    assert len(read_images(folder, ("a", "b"), max_bad=0.1)) == 36


def test_the_limit_of_bad_images_is_no_part_of_what_a_split_is_remembered_by(tmp_path):
    folder = folder_of(tmp_path / "photos", {"a": 20, "b": 20})
    before = roles(load_images(folder, seed=5))
    folder_of(folder, {"a": 20, "b": 20}, offset=1)
    after = roles(load_images(folder, seed=5, max_bad=0.5))
    assert {item: after[item] for item in before} == before


def test_test_names_the_test_images_and_they_are_no_others(folder, tmp_path):
    more = folder_of(tmp_path / "more", {"b": 5, "a": 2}, offset=9)
    data = load_images(folder, test=more, test_share=0.3)
    assert sizes(data) == [34, 6, 7]
    assert sorted(data.test.hashes) == sorted(
        files.content_hash(path.read_bytes()) for path in more.rglob("*.png")
    )
    assert [data.class_names[i] for i in data.test.labels] == ["a"] * 2 + ["b"] * 5
    assert sizes(load_images(folder)) == [28, 6, 6]  # kept apart from the other's memory


def test_labels_of_a_folder_come_from_their_list(folder, tmp_path):
    rows = [f"{c}/0_{i}.png,{'odd' if i % 2 else 'even'}" for c in "ab" for i in range(20)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    data = load_images(folder, labels=tmp_path / "list.csv")
    assert data.class_names == ("even", "odd")
    assert [int(str(item)[:-4].split("_")[1]) % 2 for item in data.table.items] == list(
        data.table.labels
    )
    assert load_images(folder).class_names == ("a", "b")


def test_without_cache_nothing_is_remembered_or_recalled(folder, private_home):
    first = load_images(folder, cache=False)
    assert list(private_home.rglob("*")) == []
    (folder / "a" / "0_0.png").unlink()
    kept = load_images(folder)
    folder_of(folder, {"a": 20, "b": 20}, offset=1)
    anew = load_images(folder, cache=False)
    assert anew.warnings == () and sizes(anew) == [55, 12, 12]
    again = load_images(folder)
    assert "Known images keep their split" in again.warnings[0]
    before = roles(kept)
    assert {item: roles(again)[item] for item in before} == before
    assert first.fingerprint != anew.fingerprint


def test_data_dir_is_where_the_data_set_is_prepared(monkeypatch, tmp_path):
    import sys

    asked = []

    class Library(TfdsStandIn):
        def builder(self, name, data_dir):
            asked.append(data_dir)
            return super().builder(name, data_dir)

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", Library(train=24, test=6))
    data = load_images("tfds:shapes", data_dir=tmp_path / "sets", cache=False)
    manifest.write_manifest(data.manifest, tmp_path / "manifest.json")
    again = Data.from_manifest(tmp_path / "manifest.json")
    assert list(map(str, asked)) == [str(tmp_path / "sets")] * 2
    assert again.fingerprint == data.fingerprint


def test_classes_of_arrays_keep_the_order_they_are_given_in(tmp_path):
    data = load_images((PIXELS, LABELS, UNSORTED))
    assert data.class_names == UNSORTED and data.manifest["classes"] == list(UNSORTED)
    for images in (data.train, data.val, data.test):
        assert images.class_names == UNSORTED
        assert images.labels.tolist() == LABELS[list(images.table.items)].tolist()
        for i in range(len(images)):
            assert (images.table.read(i) == PIXELS[images.table.items[i]]).all()
    manifest.write_manifest(data.manifest, tmp_path / "manifest.json")
    again = Data.from_manifest(tmp_path / "manifest.json", (PIXELS, LABELS, UNSORTED))
    assert again.train.labels.tolist() == data.train.labels.tolist()
    named = np.array(UNSORTED)[LABELS]
    by_name = load_images((PIXELS, named, UNSORTED))
    assert by_name.fingerprint == data.fingerprint
    with pytest.raises(TlkitError, match="the classes are blue, green, red"):
        Data.from_manifest(tmp_path / "manifest.json", (PIXELS, named))


def test_labels_of_test_arrays_go_by_name():
    names = np.array(UNSORTED)[LABELS]
    data = load_images((PIXELS[:60], LABELS[:60], UNSORTED), test=(PIXELS[60:], names[60:]))
    assert data.class_names == UNSORTED and data.test.table.items == tuple(range(60, 90))
    assert data.test.labels.tolist() == LABELS[60:].tolist()


def test_arrays_have_a_memory_by_their_content_and_their_test_arrays(private_home):
    first = load_images((PIXELS[:60], LABELS[:60]))
    other = load_images((PIXELS[30:], LABELS[30:]))
    assert other.warnings == () and len(list(private_home.glob("data/*"))) == 2
    load_images((PIXELS[:60], LABELS[:60]), test=(PIXELS[60:75], LABELS[60:75]))
    last = load_images((PIXELS[:60], LABELS[:60]), test=(PIXELS[75:], LABELS[75:]))
    assert last.warnings == () and last.test.table.items == tuple(range(60, 75))
    assert (last.test.table.read(0) == PIXELS[75]).all()
    assert load_images((PIXELS[:60], LABELS[:60])).fingerprint == first.fingerprint


def test_of_two_equal_images_in_two_roles_the_stricter_role_is_remembered(folder):
    data = load_images(folder)
    names = {role: [i for i, r in roles(data).items() if r == role] for role in ROLES}
    for role in ("val", "test"):  # a copy under a new name, and one that takes an old name
        copy = (folder / names[role][0]).read_bytes()
        (folder / "a" / f"copy_of_{role}.png").write_bytes(copy)
        (folder / names["train"][0]).write_bytes(copy)
        found = roles(load_images(folder))
        assert found[f"a/copy_of_{role}.png"] == found[names["train"][0]] == role


def test_read_images_are_all_of_one_role(folder):
    images = read_images(folder, ("b", "a"), role="seen")
    assert images.role == "seen" and images.class_names == ("b", "a")
    assert images.labels.tolist() == [1] * 20 + [0] * 20 and len(images.hashes) == 40
    assert images.files[0] == str(folder / "a" / "0_0.png")
    single = read_images((PIXELS[:4], ["x"] * 4), ("y", "x"))
    assert single.role == "test" and single.labels.tolist() == [1] * 4
    assert single.files == ("row 0", "row 1", "row 2", "row 3")


def test_the_fingerprint_and_the_summary_are_those_of_the_manifest(folder):
    data = load_images(folder)
    assert data.fingerprint == data.manifest["digest"]
    assert data.hashes == data.checked.hashes and len(data.hashes) == 40
    assert f"train 28, val 6, test 6 (manifest {data.fingerprint[:8]})" in data.summary()
    noted = dataclasses.replace(data, warnings=("mind the gap",))
    assert noted.summary().endswith("\n  warning: mind the gap")
