"""Every kind of source becomes the same table, and what is wrong with one is named."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from tlkit.errors import TlkitError
from tlkit.images.sources import read_source
from tlkit.images.table import from_arrays, relabel


def put(folder, *paths):
    """Writes a small picture, of its own colour, at each path."""
    for path in paths:
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        color = tuple(np.frombuffer(str(path).encode() * 3, np.uint8)[-3:].tolist())
        Image.new("RGB", (9, 8), color).save(place)
    return folder


def rows(table):
    names = [table.class_names[label] for label in table.labels]
    return list(
        zip(table.items, names, table.split if table.split is not None else names, strict=True)
    )


def test_folder_per_class(tmp_path):
    put(tmp_path, "b/2.PNG", "a/1.jpg", "a/deep/3.webp", ".hidden/x.png", "a/.y.png", "0.png")
    (tmp_path / "a" / "notes.TXT").write_text("x")
    table = read_source(str(tmp_path))
    assert table.items == ("a/1.jpg", "a/deep/3.webp", "b/2.PNG")
    assert table.class_names == ("a", "b") and table.labels.tolist() == [0, 0, 1]
    assert table.labels.dtype == np.int64 and table.split is None
    assert table.skipped == {".txt": 1}
    assert "1 images lie directly" in table.notes[0]
    assert table.read(2) == (tmp_path / "b/2.PNG").read_bytes()
    assert table.path(0) == tmp_path / "a/1.jpg"


def test_class_names_are_plainly_sorted(tmp_path):
    put(tmp_path, *(f"{name}/1.png" for name in ("10", "9", "Z", "a")))
    assert read_source(tmp_path).class_names == ("10", "9", "Z", "a")


def test_linked_files_are_read(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    os.symlink(tmp_path / "a/1.png", tmp_path / "b/2.png")
    assert "b/2.png" in read_source(tmp_path).items


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_divided_folder(tmp_path, val):
    put(tmp_path, "train/a/1.png", "train/b/1.png", f"{val}/a/1.png", "testing/b/1.png")
    (tmp_path / "extra").mkdir()
    table = read_source(tmp_path)
    assert sorted(rows(table)) == sorted([
        ("train/a/1.png", "a", "train"), ("train/b/1.png", "b", "train"),
        (f"{val}/a/1.png", "a", "val"), ("testing/b/1.png", "b", "test"),
    ])  # fmt: skip
    assert any("extra" in note for note in table.notes)


def test_a_class_called_train_is_a_class(tmp_path):
    put(tmp_path, "train/1.png", "plane/1.png")
    assert read_source(tmp_path).class_names == ("plane", "train")


def test_separate_test_folder(tmp_path):
    put(tmp_path, "photos/a/1.png", "photos/b/1.png", "more/b/1.png")
    table = read_source(tmp_path / "photos", test=tmp_path / "more")
    assert table.split.tolist() == ["", "", "test"] and table.labels.tolist() == [0, 1, 1]
    assert table.path(2).resolve() == (tmp_path / "more/b/1.png").resolve()


def test_csv_with_split_and_group(tmp_path):
    put(tmp_path, "x/1.png", "x/2.png", "x/3.png")
    text = (
        "\ufeffPath;label;split;group\nx/2.png;b;;p1\nx/1.png;a;validation;\n./x/3.png;a;TEST;p2\n"
    )
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    table = read_source(tmp_path / "list.csv")
    assert rows(table) == [("x/1.png", "a", "val"), ("x/2.png", "b", ""), ("x/3.png", "a", "test")]
    assert table.group.tolist() == ["", "p1", "p2"]
    assert table.read(0) == (tmp_path / "x/1.png").read_bytes()
    (tmp_path / "labels.csv").write_text("path,label\n1.png,b\n2.png,a\n")
    assert read_source(tmp_path / "x", labels=tmp_path / "labels.csv").labels.tolist() == [1, 0]


def test_arrays():
    x = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(np.uint8)
    table = read_source((x, [3, 10, 3, 9]))
    assert table.class_names == ("3", "9", "10") and table.labels.tolist() == [0, 2, 0, 1]
    assert table.read(1).shape == (5, 6, 1)
    part = table.select([3, 1])
    assert part.items == (3, 1) and (part.read(0)[..., 0] == x[3]).all()
    assert part.select(np.array([False, True])).name(0) == "row 1"
    named = read_source(x, labels=["dog", "cat", "dog", "cat"])
    assert named.class_names == ("cat", "dog")
    ordered = from_arrays([x[0], x[1], np.zeros((9, 9, 3))], [1, 0, 1], ["z", "a"])
    assert ordered.class_names == ("z", "a") and ordered.arrays.dtype == object
    assert from_arrays(ordered.arrays, [1, 0, 1]).read(2).shape == (9, 9, 3)
    with pytest.raises(TlkitError, match=r"must be \[height, width"):
        from_arrays(["a.jpg", "b.jpg"], [0, 1])


def test_relabel_goes_by_name():
    table = from_arrays(np.zeros((2, 4, 4)), ["a", "c"])
    assert relabel(table, ("c", "b", "a")).labels.tolist() == [2, 0]
    with pytest.raises(TlkitError, match="Unknown class 'c'"):
        relabel(table, ("a", "b"))


FOLDER_FAULTS = {
    "no class folders": (["1.png", "2.png"], "2 images lie directly"),
    "only one class": (["a/1.png"], "only one class, 'a'"),
    "nested once too deep": (["all/a/1.png", "all/b/1.png"], "did you mean .*all"),
    "unknown test class": (["train/a/1.png", "train/b/1.png", "test/bb/1.png"], "Did you mean 'b'"),
    "two test folders": (["train/a/1.png", "test/a/1.png", "testing/a/1.png"], "two folders"),
}


@pytest.mark.parametrize("case", FOLDER_FAULTS)
def test_folder_faults_are_named(tmp_path, case):
    paths, message = FOLDER_FAULTS[case]
    with pytest.raises(TlkitError, match=message):
        read_source(put(tmp_path, *paths))


def test_more_faults_are_named(tmp_path):
    put(tmp_path, "photos/a/1.png", "photos/b/1.png")
    with pytest.raises(TlkitError, match=r"Did you mean .*photos"):
        read_source(str(tmp_path / "photoz"))
    (tmp_path / "photos" / "void").mkdir()
    with pytest.raises(TlkitError, match="class folder 'void'"):
        read_source(tmp_path / "photos")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    (tmp_path / "empty" / "a" / "x.heic").write_bytes(b"x")
    with pytest.raises(TlkitError, match=r"only 1 \.heic"):
        read_source(tmp_path / "empty")
    with pytest.raises(TlkitError, match="2 images came with 3 labels"):
        read_source((np.zeros((2, 4, 4)), [0, 1, 1]))
    with pytest.raises(TlkitError, match="both must be files"):
        read_source(
            (np.zeros((2, 4, 4)), ["a", "b"]), test=put(tmp_path / "t", "a/1.png", "b/1.png")
        )


CSV_FAULTS = {
    "path,kind\n1.png,a\n": "needs the columns path and label; it has path, kind",
    "path,label\n1.png,\n": "line 2: the path or the label is empty",
    "path,label,split\n1.png,a,tset\n": "line 2: Unknown split 'tset'.*'test'",
    "path,label\n1.png,a\n./1.png,b\n": "names 1.png twice",
    "path,label\n1.txt,a\n": "No images",
}


@pytest.mark.parametrize("text", CSV_FAULTS)
def test_csv_faults_are_named(tmp_path, text):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(TlkitError, match=CSV_FAULTS[text]):
        read_source(tmp_path / "list.csv")


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


class TfdsStandIn:
    """Answers like tensorflow_datasets for one small data set called `shapes`."""

    def __init__(self, **splits):
        self.splits = splits
        self.image = None  # the feature; None stands for one that is no image file

    __spec__ = "found"
    decode = type("Decode", (), {"SkipDecoding": str})
    features = type("Features", (), {"Image": type("Image", (), {"np_dtype": np.uint8})})

    def list_builders(self, with_community_datasets):
        return ["shapes"]

    def builder(self, name, data_dir):
        if name != "shapes":
            raise Exception(f"no data set {name}")
        return self

    def download_and_prepare(self):
        pass

    @property
    def info(self):
        label = type("Label", (), {"names": ["round", "square"]})
        return type("Info", (), {
            "name": "shapes", "splits": self.splits, "supervised_keys": ("image", "label"),
            "features": {"label": label, "image": self.image},
        })  # fmt: skip

    def as_dataset(self, split, as_supervised, shuffle_files, decoders):
        pixels = [np.full((8, 6 + i, 3), i, np.uint8) for i in range(self.splits[split])]
        images = map(png, pixels) if decoders else pixels
        return [(image, i % 2) for i, image in enumerate(images)]

    def as_numpy(self, dataset):
        return dataset


def test_tfds_names(monkeypatch):
    import sys

    monkeypatch.setitem(
        sys.modules, "tensorflow_datasets", TfdsStandIn(train=4, validation=3, test=2)
    )
    table = read_source("tfds:shapes")
    assert table.split.tolist() == ["train"] * 4 + ["val"] * 3 + ["test"] * 2
    assert table.class_names == ("round", "square") and table.read(5).shape == (8, 7, 3)
    with pytest.raises(TlkitError, match="Did you mean 'shapes'"):
        read_source("tfds:shaped/big:1.0.0")
    with pytest.raises(TlkitError, match=r"called 'shaped'\. Did you mean 'tfds:shapes'"):
        read_source("shaped")
    with pytest.raises(TlkitError, match="no data set qqq"):
        read_source("tfds:qqq")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", TfdsStandIn(train=4))
    assert read_source("tfds:shapes").split is None
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(TlkitError, match="pip install"):
        read_source("tfds:shapes")


def test_tfds_images_stay_encoded(monkeypatch):
    import sys

    library = TfdsStandIn(train=4, test=2)
    library.image = library.features.Image()
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", library)
    table = read_source("tfds:shapes")
    assert [type(table.read(i)) for i in range(6)] == [bytes] * 6
    assert Image.open(io.BytesIO(table.read(3))).size == (9, 8)
    monkeypatch.setattr(library.features.Image, "np_dtype", np.float32)
    assert isinstance(read_source("tfds:shapes").read(0), np.ndarray)


def test_labels_that_no_source_can_use_are_refused(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "list.csv").write_text("path,label\na/1.png,a\nb/1.png,b\n")
    with pytest.raises(TlkitError, match="CSV file's path, not a list"):
        read_source(tmp_path, labels=[0, 1])
    for source in (tmp_path / "list.csv", "tfds:shapes"):
        with pytest.raises(TlkitError, match="goes with arrays or a folder"):
            read_source(source, labels=tmp_path / "list.csv")
