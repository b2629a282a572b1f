"""Rows, labels, splits and groups of every source, told by small sources written by hand."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from tests.images.test_table import put, rows
from tlkit.errors import TlkitError
from tlkit.images.sources import READABLE, read_source
from tlkit.images.table import Table, from_arrays, join, relabel, stack, with_role


def test_labels_go_by_name_where_parts_lack_classes(tmp_path):
    put(tmp_path, *(f"train/{name}/1.png" for name in "abc"), "val/c/1.png", "test/b/1.png",
        "test/c/2.png")  # fmt: skip
    table = read_source(tmp_path)
    assert table.class_names == ("a", "b", "c") and table.source == str(tmp_path)
    for item, name, role in rows(table):
        assert item.split("/")[:2] == [role, name]


@pytest.mark.parametrize(("name", "role"), [
    ("train", "train"), ("training", "train"), ("Dev", "val"), ("valid", "val"), ("VAL", "val"),
    ("validation", "val"), ("test", "test"), ("testing", "test"),
])  # fmt: skip
def test_splits_go_by_their_usual_names(tmp_path, name, role):
    (tmp_path / "list.csv").write_text(f"path,label,split\n1.png,a,{name}\n2.png,b,\n")
    assert read_source(tmp_path / "list.csv").split.tolist() == [role, ""]


def test_a_folder_with_train_alone_among_others_holds_classes(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/1.png")
    assert read_source(tmp_path).class_names == ("a", "b")
    assert set(read_source(tmp_path).split.tolist()) == {"train"}
    put(tmp_path, "tram/2.png")
    assert read_source(tmp_path).class_names == ("train", "tram")


def test_every_readable_extension_is_read_in_any_case(tmp_path):
    kinds = "jpg jpeg png bmp gif webp tif tiff".split()
    assert sorted(READABLE) == sorted(f".{kind}" for kind in kinds)
    for name in "ab":
        (tmp_path / name).mkdir()
        for kind in kinds:
            (tmp_path / name / f"x.{kind.upper() if name == 'b' else kind}").write_bytes(b"")
    (tmp_path / "a" / "README").write_bytes(b"")
    table = read_source(tmp_path)
    assert len(table) == 16 and table.skipped == {"no extension": 1}


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_list_may_use_any_common_separator_and_quotes(tmp_path, mark):
    lines = ["PATH,Label,group", '"x 1.png","b, or c",', "a.png,a,g", "notes.txt,a,"]
    text = "\n".join(lines)
    if mark != ",":
        text = text.replace("b, or c", "b or c").replace(",", mark)
    (tmp_path / "list.tsv").write_text(text)
    table = read_source(tmp_path / "list.tsv")
    assert table.items == ("a.png", "x 1.png") and table.labels.tolist() == [0, 1]
    assert table.group.tolist() == ["g", ""] and table.split is None
    assert table.class_names[1].startswith("b") and table.skipped == {".txt": 1}
    assert table.root == tmp_path


def test_a_list_of_a_folder_gives_paths_from_that_folder(tmp_path):
    put(tmp_path, "photos/x/1.png", "photos/2.png")
    text = "path,label,split,group\nx/1.png,a,val,g\n2.png,b,train,\n"
    (tmp_path / "list.csv").write_text(text)
    table = read_source(tmp_path / "photos", labels=str(tmp_path / "list.csv"))
    assert table.path(1) == tmp_path / "photos/x/1.png"
    assert rows(table) == [("2.png", "b", "train"), ("x/1.png", "a", "val")]
    assert table.group.tolist() == ["", "g"]


def test_a_test_source_keeps_the_splits_and_groups_of_the_first(tmp_path):
    put(tmp_path, "1.png", "2.png", "3.png", "more/b/1.png", "more/b/x.txt.gif")
    text = "path,label,split,group\n1.png,a,val,g\n2.png,b,,\n3.png,b,train,h\n"
    (tmp_path / "list.csv").write_text(text)
    (tmp_path / "more" / "b" / "n.heic").write_bytes(b"")
    table = read_source(tmp_path / "list.csv", test=tmp_path / "more")
    assert table.split.tolist() == ["val", "", "train", "test", "test"]
    assert table.group.tolist() == ["g", "", "h", "", ""]
    assert table.labels.tolist() == [0, 1, 1, 1, 1] and table.skipped == {".heic": 1}
    assert table.items[3].replace("\\", "/") == "more/b/1.png"
    with pytest.raises(TlkitError, match="has a test split already"):
        read_source(table, test=tmp_path / "more")


def test_a_table_is_a_source_itself():
    table = from_arrays(np.zeros((2, 4, 4)), ["a", "b"])
    assert read_source(table) is table
    assert read_source(from_arrays(np.zeros((1, 4, 4)), ["a"]), least=1).class_names == ("a",)
    with pytest.raises(TlkitError, match="Cannot read"):
        read_source(7)


def table_of(count=6):
    table = from_arrays(np.arange(count * 16).reshape(count, 4, 4), np.arange(count) % 3, "zax")
    return dataclasses.replace(
        table, split=np.array(["train", "val", "test"] * 2)[:count],
        group=np.array(["g", "", "h"] * 2)[:count],
    )  # fmt: skip


def test_a_selection_keeps_every_column_in_step():
    table = table_of()
    for chosen, wanted in (([5, 0, 2], [5, 0, 2]), (np.array([0, 1, 0, 0, 1, 1], bool), [1, 4, 5])):
        part = table.select(chosen)
        assert part.items == tuple(wanted) and len(part) == 3
        for column in ("labels", "split", "group"):
            assert getattr(part, column).tolist() == getattr(table, column)[wanted].tolist()
        assert [int(part.read(i).flat[0]) for i in range(3)] == [16 * i for i in wanted]
        assert [part.name(i) for i in range(3)] == [f"row {i}" for i in wanted]
    assert len(table.select([])) == 0
    with pytest.raises(TlkitError, match="row 0 has no path"):
        table.path(0)


def test_tables_are_joined_row_by_row():
    one, two = table_of(2), with_role(from_arrays(np.ones((2, 5, 5)), [2, 0], "zax"), "test")
    both = join(one, two)
    assert both.items == (0, 1, 2, 3) and both.labels.tolist() == [0, 1, 2, 0]
    assert both.split.tolist() == ["train", "val", "test", "test"]
    assert both.group.tolist() == ["g", "", "", ""] and both.class_names == ("z", "a", "x")
    assert [both.read(i).shape for i in range(4)] == [(4, 4, 1)] * 2 + [(5, 5, 1)] * 2
    chosen = join(table_of().select([4]), two.select([1]))
    assert [int(chosen.read(i).flat[0]) for i in range(2)] == [64, 1]
    noted = dataclasses.replace(one, notes=("x",), skipped={".a": 1})
    again = join(noted, dataclasses.replace(two, notes=("y",), skipped={".a": 2, ".b": 1}))
    assert again.notes == ("x", "y") and again.skipped == {".a": 3, ".b": 1}


def test_labels_of_arrays_are_what_the_names_say():
    names = ("red", "blue", "green")
    x = np.zeros((4, 4, 4))
    for y in ([2, 0, 1, 2], ["green", "red", "blue", "green"]):
        table = from_arrays(x, y, names)
        assert table.class_names == names and table.labels.tolist() == [2, 0, 1, 2]
    assert from_arrays(x, [[1], [0], [1], [0]], ("b", "a")).labels.tolist() == [1, 0, 1, 0]
    moved = relabel(from_arrays(x, [2, 0, 1, 2], names), ("blue", "green", "more", "red"))
    assert moved.labels.tolist() == [1, 3, 0, 1] and moved.labels.dtype == np.int64
    for wrong in ([3, 0, 1, 2], [-1, 0, 1, 2], ["gren", "red", "red", "red"]):
        with pytest.raises(TlkitError, match="Unknown label"):
            from_arrays(x, wrong, names)


def test_images_of_one_form_become_one_array_and_others_are_held_as_they_are():
    same = stack([np.full((4, 5), i, np.uint8) for i in range(3)])
    assert same.shape == (3, 4, 5) and same.dtype == np.uint8
    mixed = stack([np.zeros((4, 5)), b"bytes", np.zeros((4, 6))])
    assert mixed.dtype == object and mixed[1] == b"bytes" and mixed[2].shape == (4, 6)
    kinds = stack([np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.float32)])
    assert kinds.dtype == object and kinds[1].dtype == np.float32
    held = Table("here", None, (2, 0), np.array([0, 0]), ("a",), arrays=same)
    assert held.read(0).shape == (4, 5, 1) and held.read(0).max() == 2


def test_pictures_beside_class_folders_are_counted_and_hidden_ones_are_not(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", "0.png", "1.jpg", ".2.png", "__MACOSX/a/1.png")
    (tmp_path / "b" / "deep").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "b" / "deep" / "2.png")
    table = read_source(tmp_path)
    assert table.items == ("a/1.png", "b/1.png", "b/deep/2.png")
    assert table.notes[0].startswith("2 images lie directly")
