"""A death inside any write: there is no run yet, or it goes on and ends bit-equal.

One run is trained while a disk keeps what each death would have left of it; see `tests/disk.py`.
"""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.disk import Disk
from tests.scripted import new_model, pictures
from tests.training.test_finetune import assert_same, state
from tlkit.errors import TlkitError
from tlkit.features import decoded
from tlkit.features.store import Store
from tlkit.images.dataset import load_images
from tlkit.models.heads import Head
from tlkit.phases.phase import Phase
from tlkit.training import train
from tlkit.training.run import Run

SOURCE = pictures()
HEAD = Phase("head", epochs=2, rate=0.02, views=2, augment="flip", batch_size=16)
TAIL = dataclasses.replace(
    HEAD, name="tail", unfreeze="stage3", rate=0.005, epochs=3, average=0.9, l2_sp=0.5
)
PLAN = (HEAD, TAIL)
# Every kind of file a run writes, and how often: the first checkpoint, one for each epoch, one for
# each phase; two views and the validation images at two boundaries, with their lists of hashes.
WRITES = {
    "manifest": 1, "quarantine": 1, "model": 2, "classifier": 2, "checkpoint": 8, "run": 2,
    "rows": 12, "metrics": 1,
}  # fmt: skip


def read(cache=False):
    return load_images(SOURCE, val_share=0.3, cache=cache)


def model_with_dropout(seed=0):
    return new_model(head=Head(dropout=0.5), seed=seed)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One uninterrupted run on a disk that was watched, with its final values."""
    folder = tmp_path_factory.mktemp("whole")
    disk = Disk(folder / "disk", folder / "copies")
    data, model, store = read(), model_with_dropout(), Store(folder / "disk" / "rows")
    decoded.pixel_rows(store, data.train, model.rule)  # else a thread writes them meanwhile
    decoded.pixel_rows(store, data.val, model.rule)
    with pytest.MonkeyPatch.context() as patch:
        disk.watched(patch)
        run = train.train(model, data, PLAN, out=folder / "disk" / "run", store=store)
    return run, state(model), disk


BEFORE = [
    ("manifest", 0, "torn"),
    ("quarantine", 0, "torn"),
    ("model", 0, "torn"),
    ("classifier", 0, "torn"),
    ("checkpoint", 0, "torn"),
    ("checkpoint", 0, "done"),
    ("run", 0, "torn"),
]


@pytest.mark.parametrize("death", BEFORE, ids=str)
def test_before_run_json_there_is_no_run_and_the_folder_is_free(whole, tmp_path, death):
    folder = copied(whole, death, tmp_path)
    with pytest.raises(TlkitError, match=r"not a run folder: there is no run\.json"):
        train.resume(folder / "run", source=SOURCE)
    run = Run.create(folder / "run", model_with_dropout(), whole[0].data, PLAN, 0)
    assert (run.folder / "run.json").exists() and run.checkpoint.exists()


def test_what_a_dead_run_has_left_does_not_reach_the_next(whole, tmp_path):
    folder = copied(whole, ("checkpoint", 5, "done"), tmp_path)
    (folder / "run" / "run.json").unlink()  # a checkpoint of the tail stays behind
    brief, found = (dataclasses.replace(HEAD, epochs=1),), []
    for out in (folder / "run", tmp_path / "clean"):
        model = model_with_dropout()
        store = Store(folder / "rows")
        run = train.train(model, whole[0].data, brief, out=out, store=store)
        assert [(row["epoch"], row["phase"]) for row in run.history] == [(0, "head")]
        assert [(record["name"], record["epochs"]) for record in run.records] == [("head", 1)]
        found.append(state(model))
    assert_same(*found)


WHILE = [
    ("run", 0, "done"),  # a run since this moment: what dropout draws from must be there too
    ("rows", 5, "torn"),
    ("checkpoint", 1, "torn"),  # in the first epoch's
    ("checkpoint", 3, "done"),  # between the phases
    ("checkpoint", 6, "torn"),  # in that of the tail's last epoch
    ("checkpoint", 7, "done"),
    ("model", 1, "torn"),
    ("model", 1, "done"),
    ("classifier", 1, "torn"),
    ("metrics", 0, "torn"),
    ("run", 1, "torn"),
]


@pytest.mark.parametrize("death", WHILE, ids=str)
def test_from_then_on_a_run_goes_on_and_ends_bit_equal(whole, tmp_path, death):
    run, values, _ = whole
    folder = copied(whole, death, tmp_path)
    again = train.resume(folder / "run", source=SOURCE, store=Store(folder / "rows"))
    assert_same(state(again.model), values)
    assert untimed(again.history) == untimed(run.history)
    assert [r["best_epoch"] for r in again.records] == [r["best_epoch"] for r in run.records]
    assert again.model.temperature == run.model.temperature != 1
    metrics = [(r.folder / "metrics.json").read_bytes() for r in (again, run)]
    assert metrics[0] == metrics[1]
    for one, two in zip(saved(again), run.model.keras_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not (folder / "run" / "checkpoint.npz").exists()


def test_after_the_last_write_the_run_is_finished(whole, tmp_path):
    folder = copied(whole, ("run", 1, "done"), tmp_path)
    with pytest.raises(TlkitError, match="is finished"):
        train.resume(folder / "run", source=SOURCE)
    assert Run.open(folder / "run").model.temperature == whole[0].model.temperature


def test_a_run_without_its_checkpoint_does_not_begin_anew(whole, tmp_path):
    folder = copied(whole, ("checkpoint", 2, "done"), tmp_path)
    (folder / "run" / "checkpoint.npz").unlink()
    with pytest.raises(TlkitError, match=r"checkpoint\.npz is missing.*Start it anew"):
        train.resume(folder / "run", source=SOURCE)


def test_every_kind_of_file_that_a_run_writes_is_watched(whole):
    _, _, disk = whole
    assert dict(disk.writes) == WRITES
    moments = {(left.kind, left.number, left.moment) for left in disk.left}
    assert moments == {
        (k, n, m) for k, c in WRITES.items() for n in range(c) for m in ("torn", "done")
    }


def copied(whole, death, tmp_path) -> Path:
    """Returns the disk after a death, where nothing else uses it."""
    return shutil.copytree(whole[2].after(*death), tmp_path / "disk")


def saved(run):
    """Returns the weights in the run's folder."""
    return keras.saving.load_model(run.folder / "model.keras", compile=False).get_weights()


def untimed(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


SCRIPT = """
import os, signal, sys
from pathlib import Path
import pytest
from tests.disk import Disk, kind_of
from tests.training.test_kill import PLAN, model_with_dropout, read
from tlkit.features.store import Store
from tlkit.training import train

def torn(path):
    disk.writes[kind_of(path)] += 1
    if kind_of(path) == "checkpoint" and disk.writes["checkpoint"] == 4:
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
disk = Disk(folder, folder, torn)
disk.moving = lambda real: real
disk.watched(pytest.MonkeyPatch())
store = Store(folder / "rows")
train.train(model_with_dropout(), read(), PLAN, out=folder / "run", store=store)
"""


def test_kill_9_inside_the_write_of_a_checkpoint(whole, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert any("tmp" in name for name in os.listdir(tmp_path / "run"))  # the torn half stays
    resumed = train.resume(tmp_path / "run", source=SOURCE, store=Store(tmp_path / "rows"))
    assert_same(state(resumed.model), whole[1])
