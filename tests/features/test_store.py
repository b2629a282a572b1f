"""Rows are computed once, found by content, and survive a crash at any write."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.features import store as store_module
from tlkit.features.store import Store


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


DYING = """
import pathlib, resource, signal, sys
import numpy as np
from tlkit.features import store

def compute(positions):
    for i in positions:
        yield np.full((1, 50), ord(names[i]), np.float32)

folder, limit = sys.argv[1], int(sys.argv[2])
names, store.CHUNK_BYTES = "abcdefgh", 600  # three rows a chunk, of which the last is shorter
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python would go on
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
store.Store(pathlib.Path(folder)).rows("kind", names, compute)
"""


@pytest.mark.parametrize("limit", [3, 10, 300, 700])
def test_a_process_that_dies_inside_a_write_leaves_a_usable_store(tmp_path, limit):
    done = subprocess.run([sys.executable, "-c", DYING, str(tmp_path), str(limit)])
    assert done.returncode < 0  # killed, with `limit` bytes of the file written
    assert any(path.stat().st_size == limit for path in (tmp_path / "kind").iterdir())
    names, calls = "abcdefgh", []

    def compute(positions):
        calls.extend(positions)
        yield np.array([[ord(names[i])] * 50 for i in positions], np.float32)

    found = Store(tmp_path).rows("kind", names, compute)
    np.testing.assert_array_equal(found[:, 7], [ord(name) for name in names])
    assert calls == list(range(8))
    again = Store(tmp_path).rows("kind", names, lambda positions: pytest.fail("computed again"))
    np.testing.assert_array_equal(again, found)


def test_what_was_written_before_a_death_is_not_computed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "CHUNK_BYTES", 24)  # three rows a chunk
    names, calls = list("abcdefgh"), []

    def dies(positions):
        yield from list(rows_of(names)(positions[:6]))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).rows("kind", names, dies)
    found = Store(tmp_path).rows("kind", names, rows_of(names, calls))
    np.testing.assert_array_equal(found[:, 0], [ord(name) for name in names])
    assert calls == list("gh")


@pytest.mark.parametrize("rows", [2, 4])
def test_a_chunk_and_a_list_of_different_length_are_not_trusted(tmp_path, rows):
    names, calls = list("abc"), []
    Store(tmp_path).rows("kind", names, rows_of(names))
    chunk = next((tmp_path / "kind").glob("*.npy"))
    np.save(chunk, np.full((rows, 2), 7, np.float32))
    found = Store(tmp_path).rows("kind", names, rows_of(names, calls))
    assert calls == names
    np.testing.assert_array_equal(found[:, 0], [ord(name) for name in names])


def test_a_list_without_its_chunk_is_passed_over(tmp_path):
    names, calls = list("abc"), []
    (tmp_path / "kind").mkdir()
    (tmp_path / "kind" / "gone.json").write_text(json.dumps(names))
    (tmp_path / "kind" / "torn.json").write_text('["a", "b"')
    np.save(tmp_path / "kind" / "torn.npy", np.zeros((2, 2), np.float32))
    Store(tmp_path).rows("kind", names, rows_of(names, calls))
    assert calls == names


def test_a_damaged_chunk_is_computed_again(tmp_path):
    names = list("abc")
    Store(tmp_path).rows("kind", names, rows_of(names))
    next((tmp_path / "kind").glob("*.npy")).write_bytes(b"torn")
    calls = []
    Store(tmp_path).rows("kind", names, rows_of(names, calls))
    assert calls == names


ROWS = 3 * 2 * 4  # bytes of three rows
FILE = 128 + ROWS  # with NumPy's header


def aged(folder, *kinds):
    """Writes kinds of three rows each that were used one after another, long ago."""
    for age, kind in enumerate(kinds):
        Store(folder).rows(kind, list("abc"), rows_of("abc"))
        for file in (folder / kind).iterdir():
            os.utime(file, (1000 + age, 1000 + age))


def kinds_in(folder):
    return "".join(sorted(path.name for path in folder.iterdir()))


@pytest.mark.parametrize(
    ("disk", "left"),
    [(3 * FILE + ROWS, "abcn"), (3 * FILE + ROWS - 1, "bcn"), (FILE + ROWS, "cn"), (0, "n")],
)
def test_the_longest_unused_kinds_make_room(tmp_path, disk, left):
    aged(tmp_path, "a", "b", "c")
    Store(tmp_path, disk=disk).rows("n", list("abc"), rows_of("abc"))
    assert kinds_in(tmp_path) == left


def test_a_kind_that_is_read_is_used_and_one_that_is_written_stays(tmp_path):
    aged(tmp_path, "a", "b", "c")
    Store(tmp_path).rows("a", list("abc"), rows_of("abc"))
    Store(tmp_path, disk=2 * FILE + ROWS).rows("b", list("xyz"), rows_of("xyz"))
    assert kinds_in(tmp_path) == "ab"
    for file in (tmp_path / "a").iterdir():
        os.utime(file, (4e9, 4e9))  # used after `b`
    Store(tmp_path, disk=2 * FILE + ROWS).rows("b", list("uvw"), rows_of("uvw"))
    assert kinds_in(tmp_path) == "b"
    assert len(Store(tmp_path).missing("b", list("abcxyzuvw"))) == 0


def test_a_kind_that_made_room_is_computed_again(tmp_path):
    store, calls = Store(tmp_path, disk=FILE), []
    for kind in ("a", "b", "a"):
        store.rows(kind, list("abc"), rows_of("abc", calls))
    assert calls == list("abc" * 3)


def test_two_threads_that_ask_for_the_same_rows_compute_them_once():
    store, calls, begun, found = Store(), [], threading.Event(), []

    def slow(positions):
        begun.set()
        threading.Event().wait(0.2)
        yield from rows_of("abc", calls)(positions)

    other = threading.Thread(target=lambda: found.append(store.rows("kind", list("abc"), slow)))
    other.start()
    begun.wait(10)
    mine = store.rows("kind", list("abc"), rows_of("abc", calls))
    other.join()
    assert calls == list("abc")
    np.testing.assert_array_equal(mine, found[0])


def test_rows_of_other_kinds_and_later_rows_are_found_in_order():
    store = Store()
    store.rows("kind", list("ca"), rows_of("ca"))
    store.rows("other", list("ab"), rows_of(["aa", "bb"]))
    found = store.rows("kind", ["b", "a", "c", "a"], rows_of(["b", "a", "c", "a"]))
    np.testing.assert_array_equal(found, [[98, 1], [97, 1], [99, 1], [97, 1]])
    assert store.missing("kind", list("xaxb")).tolist() == [0]
    assert store.missing("other", list("cab")).tolist() == [0]


def test_rows_of_two_types_come_in_the_one_that_holds_both():
    store = Store()
    store.rows("kind", ["a"], lambda positions: iter([np.ones((1, 2), np.float16)]))
    large = np.full((1, 2), 1e6, np.float32)
    found = store.rows("kind", ["b", "a"], lambda positions: iter([large]))
    np.testing.assert_array_equal(found, [[1e6, 1e6], [1, 1]])


def test_what_fits_is_the_larger_of_the_limits(tmp_path):
    assert Store(memory=100, disk=1000).fits(10, 10)
    assert not Store(memory=100, disk=1000).fits(10, 11)
    assert Store(tmp_path, memory=100, disk=1000).fits(10, 100)
    assert not Store(tmp_path, memory=100, disk=1000).fits(10, 101)
    assert Store(tmp_path, memory=1000, disk=100).fits(10, 100)


def test_the_default_lies_under_the_home_and_computes_exactly(private_home):
    store = Store.default()
    assert store.folder.is_relative_to(private_home) and store.engine == "constants"
    assert Store.default("keras").engine == "keras"
    store.rows("kind", ["a"], rows_of("a"))
    assert (store.folder / "kind").is_dir()


@pytest.mark.parametrize("memory", [47, 48])
def test_beyond_the_memory_limit_rows_are_mapped(tmp_path, memory):
    names = list("abcdef")
    store = Store(tmp_path, memory=memory)
    for asked in (names, names[::-1]):  # two orders at once, each in a file of its own
        found = store.rows("kind", asked, rows_of(asked))
        assert isinstance(found, np.memmap) == (memory < 48)
        np.testing.assert_array_equal(found[:, 0], [ord(name) for name in asked])
    assert len(Store(tmp_path).rows("kind", names, lambda _: pytest.fail("computed again"))) == 6


def test_a_short_computation_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="2 rows"):
        Store(tmp_path).rows("kind", list("ab"), lambda positions: iter([np.zeros((1, 2))]))
