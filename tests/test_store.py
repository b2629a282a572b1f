"""Rows are computed once, found by content, and survive a crash at any write."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import store as store_module
from tlkit.store import Store


def rows_of(names, calls=None):
    """Returns a compute function whose rows follow from the names."""

    def compute(positions):
        for start in range(0, len(positions), 3):
            part = positions[start : start + 3]
            if calls is not None:
                calls.extend(names[i] for i in part)
            yield np.array([[ord(names[i][0]), len(names[i])] for i in part], np.float32)

    return compute


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1), min_size=1, max_size=4))
def test_each_content_is_computed_once_and_order_is_kept(tmp_path_factory, requests):
    for folder in (None, tmp_path_factory.mktemp("rows")):
        store, calls = Store(folder), []
        for names in requests:
            found = store.rows("kind", names, rows_of(names, calls))
            np.testing.assert_array_equal(found[:, 0], [ord(name) for name in names])
        assert len(calls) == len(set(calls))


def test_rows_outlive_the_process_that_made_them(tmp_path):
    names = list("abcde")
    Store(tmp_path).rows("kind", names, rows_of(names))
    calls = []
    Store(tmp_path).rows("kind", names[::-1], rows_of(names[::-1], calls))
    assert calls == []
    Store(tmp_path).rows("other", names, rows_of(names, calls))
    assert calls == names


@pytest.mark.parametrize("writes", range(4))
def test_a_crash_at_any_write_leaves_a_usable_store(tmp_path, monkeypatch, writes):
    names, real, count = list("abcdefgh"), store_module.files.os.replace, []

    def dying(*paths):
        if len(count) == writes:
            raise KeyboardInterrupt
        count.append(1)
        real(*paths)

    monkeypatch.setattr(store_module, "CHUNK_BYTES", 24)  # three rows a chunk
    monkeypatch.setattr(store_module.files.os, "replace", dying)
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).rows("kind", names, rows_of(names))
    monkeypatch.undo()
    found = Store(tmp_path).rows("kind", names, rows_of(names))
    np.testing.assert_array_equal(found[:, 0], [ord(name) for name in names])


def test_a_damaged_chunk_is_computed_again(tmp_path):
    names = list("abc")
    Store(tmp_path).rows("kind", names, rows_of(names))
    next((tmp_path / "kind").glob("*.npy")).write_bytes(b"torn")
    calls = []
    Store(tmp_path).rows("kind", names, rows_of(names, calls))
    assert calls == names


def test_the_longest_unused_kind_makes_room(tmp_path):
    import os

    store = Store(tmp_path, disk=1000)
    for age, kind in enumerate(("old", "middle")):
        store.rows(kind, list("abc"), rows_of("abc"))
        for file in (tmp_path / kind).iterdir():
            os.utime(file, (1000 + age, 1000 + age))
    Store(tmp_path, disk=320).rows("new", list("abc"), rows_of("abc"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["middle", "new"]


def test_beyond_the_memory_limit_rows_are_mapped(tmp_path):
    names = list("abcdef")
    found = Store(tmp_path, memory=10).rows("kind", names, rows_of(names))
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found[:, 0], [ord(name) for name in names])


def test_a_short_computation_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="2 rows"):
        Store(tmp_path).rows("kind", list("ab"), lambda positions: iter([np.zeros((1, 2))]))
