"""From a folder to a remembered split, and back from a manifest."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_pictures
from tlkit.errors import TlkitError
from tlkit.images import manifest
from tlkit.images.dataset import Data, load_images, read_images


def roles(data):
    return dict(zip(data.table.items, data.splits.tolist(), strict=True))


@pytest.fixture
def folder(tmp_path):
    return write_pictures(tmp_path / "photos", 20)


def test_views_are_disjoint_and_complete(folder):
    data = load_images(folder)
    views = (data.train, data.val, data.test)
    assert [len(view) for view in views] == [42, 9, 9]
    assert sorted(path for view in views for path in view.files) == sorted(
        map(str, folder.rglob("*.png"))
    )
    assert data.class_names == ("blue", "green", "red") == data.val.class_names
    for view in views:
        assert view.labels.dtype == np.int64 and len(view.hashes) == len(view.table) == len(view)
        named = [view.class_names[label] for label in view.labels]
        assert named == [path.split("/")[-2] for path in view.files]
    assert data.test.role == "test"
    assert "train 42, val 9, test 9" in data.summary() and data.warnings == ()


def test_same_data_same_split_from_memory_and_from_nothing(folder, tmp_path, monkeypatch):
    first = load_images(folder)
    assert load_images(folder).fingerprint == first.fingerprint
    monkeypatch.setenv("TLKIT_HOME", str(tmp_path / "other"))
    assert load_images(str(folder)).fingerprint == first.fingerprint


def test_new_files_leave_old_ones_where_they_were(folder, capsys):
    before = roles(load_images(folder))
    write_pictures(folder, 5, seed=7)
    grown = load_images(folder)
    after = roles(grown)
    assert {item: after[item] for item in before} == before and len(after) == 75
    assert set(after.values()) == {"train", "val", "test"}
    assert any("15 new ones" in line for line in grown.warnings)
    assert "Known images keep their split" in capsys.readouterr().err
    assert load_images(folder).warnings == ()
    assert roles(load_images(folder)) == after


def test_a_test_image_stays_one_when_renamed_copied_or_edited(folder):
    before = load_images(folder)
    renamed, copied, edited = before.test.table.items[:3]
    (folder / renamed).rename(folder / renamed.replace(".png", "_new.png"))
    Image.open(folder / copied).save(folder / copied.replace(".png", "_copy.webp"), lossless=True)
    Image.open(folder / edited).point(lambda v: 255 - v).save(folder / edited)
    after = roles(load_images(folder))
    assert after[renamed.replace(".png", "_new.png")] == "test"
    assert after[copied] == after[copied.replace(".png", "_copy.webp")] == "test"
    assert after[edited] == "test"
    kept = {item: role for item, role in roles(before).items() if item != renamed}
    assert {item: after[item] for item in kept} == kept


def test_a_damaged_memory_is_said_and_replaced(folder, private_home):
    first = load_images(folder)
    (memory,) = private_home.glob("data/*/manifest.json")
    memory.write_text(memory.read_text()[:-30])
    again = load_images(folder)
    assert "made anew" in again.warnings[0] and again.fingerprint == first.fingerprint
    assert load_images(folder).warnings == ()


def test_a_run_loads_exactly_its_data(folder, tmp_path):
    data = load_images(folder, seed=4)
    manifest.write_manifest(data.manifest, tmp_path / "manifest.json")
    again = Data.from_manifest(tmp_path / "manifest.json")
    assert again.fingerprint == data.fingerprint and roles(again) == roles(data)
    assert again.train.hashes == data.train.hashes
    (folder / "red" / "0_3.png").unlink()
    with pytest.raises(TlkitError, match=r"red/0_3.png is gone"):
        Data.from_manifest(tmp_path / "manifest.json")


def test_arrays_are_remembered_by_content(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 3), np.uint8)
    y = np.arange(40) % 2
    data = load_images((x, y))
    assert load_images(x, labels=y).fingerprint == data.fingerprint
    assert data.train.files[0].startswith("row ")
    assert (data.test.table.read(0) == x[data.test.table.items[0]]).all()
    manifest.write_manifest(data.manifest, tmp_path / "manifest.json")
    assert Data.from_manifest(tmp_path / "manifest.json", (x, y)).fingerprint == data.fingerprint
    with pytest.raises(TlkitError, match="give them as `source`"):
        Data.from_manifest(tmp_path / "manifest.json")
    x[0] += 1
    with pytest.raises(TlkitError, match="0 has other content"):
        Data.from_manifest(tmp_path / "manifest.json", (x, y))


def test_arrays_with_their_own_test_arrays_are_found_again(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (50, 8, 8, 3), np.uint8)
    y = np.arange(50) % 2
    data = load_images(x[:40], labels=y[:40], test=(x[40:], y[40:]))
    assert len(data.test) == 10
    place = tmp_path / "manifest.json"
    manifest.write_manifest(data.manifest, place)
    again = Data.from_manifest(place, x[:40], labels=y[:40], test=(x[40:], y[40:]))
    assert again.fingerprint == data.fingerprint and again.test.hashes == data.test.hashes
    with pytest.raises(TlkitError, match=r"give them as `test` again.*test=\.\.\."):
        Data.from_manifest(place, (x[:40], y[:40]))
    with pytest.raises(TlkitError, match="give them as `source` again"):
        Data.from_manifest(place, test=(x[40:], y[40:]))


def test_a_moved_folder_keeps_its_list_of_labels(folder, tmp_path):
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    rows = [f"{name},{'warm' if name.startswith('red') else 'cold'}" for name in names]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    data = load_images(folder, labels=tmp_path / "list.csv")
    manifest.write_manifest(data.manifest, tmp_path / "manifest.json")
    moved = folder.rename(tmp_path / "moved")
    again = Data.from_manifest(tmp_path / "manifest.json", moved)
    assert again.fingerprint == data.fingerprint and again.class_names == ("cold", "warm")


def test_encoded_images_in_memory_are_those_of_their_files(folder):
    paths = sorted(folder.rglob("*.png"))
    held = load_images([path.read_bytes() for path in paths], labels=[p.parent.name for p in paths])
    assert sorted(held.hashes) == sorted(load_images(folder).hashes)
    assert isinstance(held.train.table.read(0), bytes)


def test_bad_files_are_left_out_of_every_view(folder, tmp_path):
    (folder / "red" / "bad.jpg").write_bytes(b"<html>")
    data = load_images(folder)
    assert len(data.table) == 60 and data.quarantine[0][0] == "red/bad.jpg"
    data.write_quarantine(tmp_path / "quarantine.csv")
    assert "looks like HTML" in (tmp_path / "quarantine.csv").read_text()
    manifest.write_manifest(data.manifest, tmp_path / "manifest.json")
    assert len(Data.from_manifest(tmp_path / "manifest.json").table) == 60


def test_a_separate_test_folder(folder, tmp_path):
    more = write_pictures(tmp_path / "more", 3, seed=9, classes=("red", "blue"))
    data = load_images(folder, test=str(more))
    assert len(data.test) == 6 and len(data.train) + len(data.val) == 60
    manifest.write_manifest(data.manifest, tmp_path / "manifest.json")
    assert Data.from_manifest(tmp_path / "manifest.json").fingerprint == data.fingerprint


def test_read_images_goes_by_class_name(folder, tmp_path):
    more = write_pictures(tmp_path / "more", 3, seed=9, classes=("red",))
    images = read_images(more, ("red", "green", "blue"))
    assert images.labels.tolist() == [0, 0, 0] and images.class_names == ("red", "green", "blue")
    assert read_images(str(more), ("blue", "green", "red")).labels.tolist() == [2, 2, 2]
    (more / "reed").mkdir()
    Image.new("RGB", (9, 9), "red").save(more / "reed" / "1.png")
    with pytest.raises(TlkitError, match=r"Unknown class 'reed'. Did you mean 'red'"):
        read_images(more, ("red", "green", "blue"))
    for role in ("train", "Test"):
        write_pictures(tmp_path / "divided" / role, 2)
    with pytest.raises(TlkitError, match=r"name the part to read, such as .*divided/Test"):
        read_images(tmp_path / "divided", ("red", "green", "blue"))


def test_loading_needs_no_tensorflow(folder):
    script = (
        "import sys\nfrom tlkit.images.dataset import load_images\n"
        f"print(len(load_images({str(folder)!r}).table))\n"
        "print(sorted({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["60", "[]"]
