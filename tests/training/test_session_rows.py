"""What a session trains on, image by image, and what it goes on with after a death."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.conftest import tiny_backbone, write_pictures
from tests.disk import Disk
from tests.scripted import (
    DEEPER,
    HEAD,
    TAIL,
    Script,
    finished,
    new_model,
    pictures,
    played,
    values,
)
from tlkit.augmentation import apply, policies
from tlkit.errors import TlkitError
from tlkit.features import decoded
from tlkit.features import frozen as features
from tlkit.features.store import Store
from tlkit.images.dataset import load_images
from tlkit.models.classifier import Classifier
from tlkit.models.network import PIXELS, POOLED
from tlkit.training import train
from tlkit.training.run import Run
from tlkit.training.session import Session, boundary_of_same_pass

SOURCE = pictures()


@pytest.fixture(scope="module")
def data():
    return load_images(SOURCE, val_share=0.3, cache=False)


def all_of(rows, view=0):
    return rows.batch(np.arange(len(rows)), view)


def places(rows):
    """Returns where each row's pixels stand in the source."""
    known = {pixels.tobytes(): place for place, pixels in enumerate(SOURCE[0])}
    return np.array([known[row.astype(np.uint8).tobytes()] for row in all_of(rows)])


def test_exactly_the_training_images_train_and_the_validation_images_judge(data, tmp_path):
    script = Script({"all": [1.0]})
    phase = dataclasses.replace(HEAD, name="all", unfreeze="all", epochs=1)
    played(tmp_path, data, (phase,), script)
    trained, judged = script.epochs[0].rows, script.judged[0][0]
    for rows, images, role in ((trained, data.train, "train"), (judged, data.val, "val")):
        found = places(rows)
        np.testing.assert_array_equal(sorted(found), np.flatnonzero(data.splits == role))
        assert [data.hashes[place] for place in found] == list(images.hashes)
        np.testing.assert_array_equal(rows.labels, SOURCE[1][found])
    assert len(trained) + len(judged) < len(SOURCE[0])  # the rest is the test split


def test_no_test_image_is_read_before_it_is_judged(tmp_path):
    data = load_images(write_pictures(tmp_path / "photos", 12))
    for name in data.test.files:
        Path(name).unlink()
    store, model = Store(), Classifier(tiny_backbone(), data.class_names)
    brief = dataclasses.replace(HEAD, epochs=1)
    run = train.train(model, data, (brief,), out=tmp_path / "run", store=store)
    kind = decoded.pixel_kind(model.rule)
    parts = (data.train, data.val, data.test)
    missing = {part.role: len(store.missing(kind, part.hashes)) for part in parts}
    assert missing == {"train": 0, "val": 0, "test": len(data.test)} and run.finished
    assert list(json.loads((run.folder / "metrics.json").read_text())) == ["val"]


def by_keras(model, boundary, images, policy=None, seed=0, number=0):
    """Returns features of a view of images, by Keras itself."""
    pixels = np.stack([images.table.read(i) for i in range(len(images))])
    x = pixels.astype(np.float32)
    if policy is not None:
        x = apply.look(pixels, np.array(images.hashes), policy, seed, number)
    return model.segment(PIXELS, boundary).predict(x, verbose=0)


@pytest.mark.parametrize(("unfreeze", "boundary"), [(None, POOLED), ("stage3", "stage2")])
def test_views_are_of_the_policy_the_strength_and_the_seed(data, tmp_path, unfreeze, boundary):
    phase = dataclasses.replace(
        HEAD, unfreeze=unfreeze, augment="photos", strength=0.4, views=2, epochs=3
    )
    script = Script({"head": [1.0, 0.9, 0.8]})
    model = new_model()
    expected = [
        by_keras(model, boundary, data.train, policies.policy("photos", 0.4), 7, number)
        for number in range(2)
    ]
    judged = by_keras(model, boundary, data.val)
    played(tmp_path, data, (phase,), script, model=model, seed=7)
    for number in range(3):
        found = all_of(script.epochs[0].rows, number).astype(np.float32)
        np.testing.assert_allclose(found, expected[number % 2], rtol=2e-3, atol=2e-3)
    assert np.abs(expected[0] - expected[1]).max() > 0.05
    plain = all_of(script.judged[0][0]).astype(np.float32)
    np.testing.assert_allclose(plain, judged, rtol=2e-3, atol=2e-3)


def test_where_nothing_is_augmented_there_is_one_view(data, tmp_path):
    plan = [
        dataclasses.replace(HEAD, name="none", views=4),
        dataclasses.replace(HEAD, name="weak", views=4, augment="photos", strength=0.0),
        dataclasses.replace(HEAD, name="strong", views=3, augment="photos"),
        dataclasses.replace(HEAD, name="brief", views=4, augment="photos", epochs=2),
    ]
    done = played(tmp_path, data, plan, Script({p.name: [1.0] * 4 for p in plan}))
    log = (done.run.folder / "log.txt").read_text()
    told = [line.split("cached ")[1][:7] for line in log.splitlines() if "cached" in line]
    assert told == ["1 views", "1 views", "3 views", "2 views"]


def test_a_phase_sees_features_of_the_weights_it_starts_with(data, tmp_path):
    last = dataclasses.replace(HEAD, name="last")
    model = new_model()
    script = Script({"head": [1.0] * 4, "tail": [0.9, 0.8, 0.7, 0.6], "last": [2.0] * 4})
    before = by_keras(model, POOLED, data.train)
    played(tmp_path, data, (HEAD, TAIL, last), script, model=model)
    first, _, again = [e.rows for e in script.epochs if e.epoch == 0]
    after = by_keras(model, POOLED, data.train)  # `last` was worse: these are the tail's
    np.testing.assert_allclose(all_of(first), before, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(all_of(again), after, rtol=1e-3, atol=1e-3)
    judged, expected = script.judged[-1][0], by_keras(model, POOLED, data.val)
    np.testing.assert_allclose(all_of(judged), expected, rtol=1e-3, atol=1e-3)
    assert np.abs(before - after).max() > 1


def test_a_heads_pass_keeps_what_the_tail_will_want(data, tmp_path):
    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            frozen = features.Frozen(model, store)
            for images, view in ((data.train, views[1]), (data.val, features.View())):
                missing = store.missing(frozen.kind(images, "stage2", view), images.hashes)
                absent.append(len(missing))

    absent, store, model = [], Store(), new_model()
    views = [features.View(policies.policy("flip", 1.0), 3, number) for number in range(2)]
    plan = [dataclasses.replace(p, epochs=2, views=2, augment="flip") for p in (HEAD, TAIL)]
    script = Script({"head": [1.0, 0.9], "tail": [0.8, 0.7]})
    played(tmp_path, data, plan, script, callbacks=[Look()], store=store, model=model, seed=3)
    assert absent[:2] == [0, 0]


def test_which_boundary_comes_out_of_a_heads_pass(data):
    frozen = features.Frozen(new_model(), Store())

    def found(*plan, number=0, images=data.train, frozen=frozen):
        return boundary_of_same_pass(frozen, plan, number, images)

    whole = dataclasses.replace(HEAD, name="all", unfreeze="all")
    assert found(HEAD, TAIL) == "stage2" and found(HEAD, DEEPER) == "stage1"
    assert found(HEAD, DEEPER, TAIL) == found(HEAD, TAIL, DEEPER) == "stage2"
    assert found(HEAD, HEAD) is found(HEAD, whole) is found(HEAD) is None
    assert found(TAIL, DEEPER) is None and found(TAIL, HEAD, number=1) is None
    assert found(TAIL, HEAD, DEEPER, number=1) == "stage1"
    looks = {"augment": "flip"}, {"augment": "photos", "strength": 0.5}, {"views": 2}
    for look in looks:
        assert found(HEAD, dataclasses.replace(TAIL, **look)) is None
        assert found(*(dataclasses.replace(p, **look) for p in (HEAD, TAIL))) == "stage2"
    strong = dataclasses.replace(HEAD, augment="photos")
    weak = dataclasses.replace(TAIL, augment="photos", strength=0.5)
    assert found(strong, weak) is None
    room = Store(memory=len(data.train) * 8 * 8 * 12 * 4)  # of stage2, not of stage1
    small = features.Frozen(new_model(), room)
    assert found(HEAD, TAIL, frozen=small) == "stage2"
    assert found(HEAD, DEEPER, frozen=small) is None
    twice = [dataclasses.replace(p, augment="flip", views=2) for p in (HEAD, TAIL)]
    assert found(*twice, frozen=small) is None


class Dies(BaseException):
    """Stands for kill -9: nothing in tlkit may catch it."""


class DieBefore(keras.callbacks.Callback):
    """Dies when an epoch begins: the one before it is on the disk."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Dies


def resumed(folder, script) -> Run:
    run = Run.open(folder)
    run.require_data(SOURCE)
    return Session(run, [], None, script).finish()


def test_a_death_loses_neither_patience_nor_past_nor_the_best(data, tmp_path):
    phase = dataclasses.replace(HEAD, epochs=9, patience=3)
    losses = {"head": [1.0, 1.1, 1.2, 1.3, 0.1], "tail": [2.0, 2.0, 2.0, 2.0]}
    with pytest.raises(Dies):
        finished(
            tmp_path / "r", data, (phase, TAIL), Script(losses), callbacks=[DieBefore(2)], seed=4
        )
    script = Script(losses)
    run = resumed(tmp_path / "r", script)
    asked = [(e.phase, e.seed, e.epoch) for e in script.epochs]
    heads = [("head", (4, 0), 2), ("head", (4, 0), 3)]
    assert asked == heads + [("tail", (4, 1), e) for e in range(4)]
    assert script.epochs[0].past == pytest.approx([1.0, 1.1], rel=1e-5)
    assert script.epochs[2].past == []
    starts = [e.before["logits/bias"][0] for e in script.epochs]
    assert starts == [12, 13, 11, 21, 22, 23]  # on from the last epoch, then from the best
    assert [(r["epochs"], r["best_epoch"]) for r in run.records] == [(4, 1), (4, 1)]
    assert [row["epoch"] for row in run.history] == list(range(8))
    assert (values(run.model)["logits/bias"] == 11).all()


def test_a_death_in_a_later_phase_keeps_the_earlier_ones(data, tmp_path):
    losses = {"head": [1.0, 0.5, 0.8, 0.9], "tail": [0.7, 0.6, 0.9, 0.4]}
    with pytest.raises(Dies):
        finished(tmp_path / "r", data, (HEAD, TAIL), Script(losses), callbacks=[DieBefore(6)])
    script = Script(losses)
    run = resumed(tmp_path / "r", script)
    assert [(e.phase, e.epoch) for e in script.epochs] == [("tail", 2), ("tail", 3)]
    assert script.epochs[0].past == pytest.approx([0.7, 0.6], rel=1e-5)
    assert [(r["name"], r["epochs"], r["best_epoch"]) for r in run.records] == [
        ("head", 4, 2), ("tail", 4, 8),
    ]  # fmt: skip
    kept = values(run.model)
    assert (kept["conv3/kernel"] == 24).all() and (kept["logits/bias"] == 24).all()


def test_what_was_decided_before_a_death_is_done_after_it(data, tmp_path):
    phase = dataclasses.replace(HEAD, epochs=9, patience=1)
    losses = {"head": [1.0, 1.1, 0.1]}
    disk = Disk(tmp_path / "disk", tmp_path / "copies")
    with pytest.MonkeyPatch.context() as patch:
        disk.watched(patch)
        finished(tmp_path / "disk" / "r", data, (phase,), Script(losses))
    script = Script(losses)
    run = resumed(disk.after("checkpoint", 2, "done") / "r", script)  # of the second epoch
    assert script.epochs == [] and len(run.history) == 2
    assert [(r["epochs"], r["best_epoch"]) for r in run.records] == [(2, 1)]


def test_an_audit_goes_on_from_where_its_phase_began(data, tmp_path):
    script = Script({"head": [1.0, 0.9]}, still=(1,))  # what moved has moved before the death
    plan = (dataclasses.replace(HEAD, epochs=2),)
    with pytest.raises(Dies):
        finished(tmp_path / "r", data, plan, script, callbacks=[DieBefore(1)])
    assert resumed(tmp_path / "r", Script({"head": [1.0, 0.9]}, still=(1,))).finished


def test_another_networks_checkpoint_is_refused(data, tmp_path):
    for name, model in (("one", new_model()), ("two", new_model(head="mlp"))):
        with pytest.raises(Dies):
            finished(
                tmp_path / name, data, (HEAD,), Script({"head": [1.0] * 4}),
                model=model, callbacks=[DieBefore(1)],
            )  # fmt: skip
    (tmp_path / "two" / "checkpoint.npz").replace(tmp_path / "one" / "checkpoint.npz")
    with pytest.raises(TlkitError, match="belongs to another network"):
        train.resume(tmp_path / "one", source=SOURCE)
