"""Files are replaced whole or not at all; checkpoints give back what they were given."""

import os

import numpy as np
import pytest

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.training import checkpoint


def test_content_hash_is_blake2b_of_128_bits():
    assert files.content_hash(b"abc") == "cf4ab791c62b8d2b2109c90275287816"  # b2sum -l 128
    assert files.content_hash(memoryview(b"abc")) == files.content_hash(b"abc")


def test_combined_hash_knows_order_borders_and_kinds():
    parts = [("a", "b"), ("b", "a"), ("ab",), ("a", "b", ""), (["a", "b"],), (1,), ("1",), (1.5,)]
    assert len({files.combined_hash(*given) for given in parts}) == len(parts)
    assert files.combined_hash({"x": 1, "y": 2}) == files.combined_hash({"y": 2, "x": 1})
    assert len(files.combined_hash("a")) == 32


def test_a_file_is_there_whole_or_as_it_was(tmp_path):
    path = tmp_path / "new" / "a.json"
    with files.replacing(path) as temporary:
        temporary.write_text("first")
        assert temporary.parent == path.parent and temporary.suffix == ".json"
        assert not path.exists()
    assert path.read_text() == "first" and os.listdir(path.parent) == ["a.json"]
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "first" and os.listdir(path.parent) == ["a.json"]
    files.write_text(path, "zweite Fassung: ä\n")
    assert path.read_bytes() == "zweite Fassung: ä\n".encode()


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    with files.replacing(tmp_path / "a.txt") as one, files.replacing(tmp_path / "a.txt") as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")


def test_bytes_are_on_the_disk_before_they_get_the_name(tmp_path, monkeypatch):
    done, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append("sync") or sync(file))
    monkeypatch.setattr(os, "replace", lambda *paths: done.append("name") or replace(*paths))
    files.write_json(tmp_path / "a.json", {"b": [1, 2.5, None], "a": "ä"})
    assert done == ["sync", "name"]
    assert files.read_json(tmp_path / "a.json") == {"b": [1, 2.5, None], "a": "ä"}
    assert (tmp_path / "a.json").read_text().startswith('{\n "b"')  # in the order given


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("TLKIT_HOME", str(tmp_path))
    assert files.home() == tmp_path
    monkeypatch.setenv("TLKIT_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert files.home() == tmp_path / "me" / ".cache" / "tlkit"


def test_a_checkpoint_gives_back_every_array_in_its_place(tmp_path):
    draw = np.random.default_rng(0)
    many = [np.full(3, number, "f4") for number in range(12)]  # "10" sorts before "2"
    mixed = [
        np.array(7, np.int64), np.zeros((0, 2), np.float32), draw.normal(size=(2, 3)),
        draw.integers(0, 9, 4, dtype=np.uint32), np.array([np.nan, -0.0], np.float16),
    ]  # fmt: skip
    facts = {"best": {"loss": float("inf"), "epoch": -1}, "history": [{"a": 0.1}], "stopped": ""}
    checkpoint.write(tmp_path / "c.npz", facts, {"many": many, "mixed": mixed, "none": []})
    found, groups = checkpoint.read(tmp_path / "c.npz")
    assert found == facts and set(groups) == {"many", "mixed"}
    for one, two in zip(many + mixed, groups["many"] + groups["mixed"], strict=True):
        assert one.dtype == two.dtype and one.shape == two.shape
        assert one.tobytes() == two.tobytes()


def test_what_is_put_back_fits_one_to_one():
    import keras

    variables = [keras.Variable([1.0, 2.0]), keras.Variable([[3.0]])]
    kept = checkpoint.values(variables)
    variables[0].assign([5.0, 6.0])
    np.testing.assert_array_equal(kept[0], [1, 2])  # a copy, not a view
    checkpoint.assign(variables, kept)
    np.testing.assert_array_equal(variables[0].numpy(), [1, 2])
    with pytest.raises(ValueError, match="shorter"):
        checkpoint.assign(variables, kept[:1])


@pytest.mark.parametrize("torn", ["empty", "start", "half", "facts", "text"])
def test_a_damaged_checkpoint_is_named(tmp_path, torn):
    path = tmp_path / "c.npz"
    checkpoint.write(path, {"a": 1}, {"x": [np.eye(9)]})
    whole = path.read_bytes()
    if torn == "facts":
        np.savez(path, x=np.eye(2))
    else:
        given = {"empty": b"", "start": b"PK torn", "half": whole[: len(whole) // 2], "text": b"{}"}
        path.write_bytes(given[torn])
    with pytest.raises(TlkitError, match=r"c\.npz is damaged"):
        checkpoint.read(path)


def test_layout_knows_names_shapes_and_order():
    import keras

    def layout(*shapes):
        named = [keras.Variable(np.zeros(shape), name=name) for name, shape in shapes]
        return checkpoint.layout(named)

    base = layout(("a", (2,)), ("b", (2,)))
    assert base == layout(("a", (2,)), ("b", (2,)))
    others = (("b", (2,)), ("a", (2,))), (("a", (2,)), ("b", (3,))), (("a", (2,)),)
    assert all(layout(*other) != base for other in others)
