"""What an epoch is made of, against tables written by hand."""

import dataclasses
import threading

import numpy as np
import pytest

from tests.steps import BARE, Done
from tlkit.phases import batches, sampling

SEVEN = np.array([0, 0, 0, 0, 1, 1, 2])
PHASE = dataclasses.replace(BARE, epochs=2, batch_size=2, rate=0.8)


def plan(epoch=0, seed=(5, 1), labels=SEVEN, past=(), **changes):
    return batches.plan(labels, dataclasses.replace(PHASE, **changes), (*seed, epoch), past)


def order(*args, **changes):
    return np.concatenate([batch.part for batch in plan(*args, **changes)]).tolist()


def test_two_epochs_of_batches_are_these():
    """Four batches of seven rows; the straight line falls through both epochs without a break."""
    found = [plan(epoch, schedule="linear") for epoch in (0, 1)]
    assert [[len(b.part) for b in epoch] for epoch in found] == [[2, 2, 2, 1]] * 2
    assert [[b.share for b in epoch] for epoch in found] == [[1, 1, 1, 1]] * 2
    assert [[b.last for b in epoch] for epoch in found] == [[True] * 4] * 2
    rates = [[b.rate for b in epoch] for epoch in found]
    np.testing.assert_allclose(rates, [[0.8, 0.7, 0.6, 0.5], [0.4, 0.3, 0.2, 0.1]])


def test_two_epochs_of_gathered_batches_are_these():
    """Three batches make an update; the fourth is one by itself."""
    found = [plan(epoch, schedule="linear", accumulate=3) for epoch in (0, 1)]
    assert [[len(b.part) for b in epoch] for epoch in found] == [[2, 2, 2, 1]] * 2
    assert [[b.last for b in epoch] for epoch in found] == [[False, False, True, True]] * 2
    np.testing.assert_allclose([b.share for b in found[0]], [1 / 3, 1 / 3, 1 / 3, 1])
    rates = [[b.rate for b in epoch] for epoch in found]
    np.testing.assert_allclose(rates, [[0.8, 0.8, 0.8, 0.6], [0.4, 0.4, 0.4, 0.2]])


def test_a_short_batch_has_its_share_of_the_images_of_an_update():
    shares = [b.share for b in plan(accumulate=2)]
    np.testing.assert_allclose(shares, [1 / 2, 1 / 2, 2 / 3, 1 / 3])


def test_warm_up_is_a_share_of_the_whole_phase():
    rates = [b.rate for epoch in (0, 1) for b in plan(epoch, schedule="linear", warmup=0.25)]
    rising, falling = [0.8 / 3, 1.6 / 3], 0.8 * (1 - np.arange(6) / 6)
    np.testing.assert_allclose(rates, [*rising, *falling])


def test_the_plan_looks_back_at_the_losses():
    options = {"factor": 0.5, "patience": 1}
    found = plan(1, past=[1.0, 1.0], schedule="plateau", schedule_options=options)
    assert {b.rate for b in found} == {0.4}


def test_every_epoch_shows_each_row_once_in_an_order_of_its_own():
    orders = [order(epoch) for epoch in range(4)]
    assert all(sorted(found) == list(range(7)) for found in orders)
    assert list(range(7)) not in orders
    assert len({tuple(found) for found in orders}) == 4
    assert orders == [order(epoch) for epoch in range(4)]


def test_the_order_depends_on_the_seed_and_on_the_phase():
    orders = {tuple(order(0, seed=seed)) for seed in [(0, 0), (1, 0), (0, 1), (1, 1)]}
    assert len(orders) == 4


def test_a_trainee_is_shown_another_order_in_every_epoch_of_every_phase():
    done = Done(3, unfreeze=None, batch_size=4)
    epochs = [np.concatenate([part for part, _ in done.shown.seen[i : i + 2]]) for i in (0, 2, 4)]
    for seed in [(1, 0), (0, 1)]:
        done.shown.seen.clear()
        list(done.trainee.epoch(done.shown.rows, seed, 0))
        epochs.append(np.concatenate([part for part, _ in done.shown.seen]))
    assert all(sorted(found) == list(range(6)) for found in epochs)
    assert len({tuple(found) for found in epochs}) == 5


def test_balanced_sampling_shows_every_class_as_often():
    labels = np.repeat([0, 1, 2], [6, 2, 1])
    first, second = (order(epoch, labels=labels, sampling="balanced") for epoch in (0, 1))
    for found in (first, second):
        assert np.bincount(labels[found]).tolist() == [3, 3, 3]
        assert len({i for i in found if labels[i] == 0}) == 3  # none twice while others wait
        assert {6, 7, 8} <= set(found)
    assert first != second
    assert np.bincount(labels[order(0, labels=labels)]).tolist() == [6, 2, 1]


def test_balanced_epochs_take_turns_with_the_rows_of_a_large_class():
    labels = np.repeat([0, 1], [12, 4])
    seen = {i for epoch in range(8) for i in sampling.order(labels, "balanced", (0, epoch))}
    assert seen == set(range(16))


def test_classes_of_a_balanced_order_are_mixed():
    labels = np.repeat([0, 1, 2], 20)
    found = labels[sampling.order(labels, "balanced", (0, 0))]
    assert len(set(found[:12])) == 3
    rounds = found.reshape(-1, 3)
    assert any(len(set(row)) < 3 for row in rounds)  # not simply one of each in turn


def test_class_weights_are_the_images_over_classes_times_count():
    weights = sampling.class_weights(np.array([2, 0, 0, 1, 0, 2]), 3)
    np.testing.assert_allclose(weights, [6 / 9, 6 / 3, 6 / 6], rtol=1e-6)
    assert weights.dtype == np.float32


def test_batches_of_one_size_go_together_in_order():
    sizes = (4, 4, 4, 4, 2, 2, 4)
    found = [batches.Batch(np.arange(n), i, 1.0, True) for i, n in enumerate(sizes)]
    groups = batches.together(found, 3)
    assert [[batch.rate for batch in group] for group in groups] == [[0, 1, 2], [3], [4, 5], [6]]
    assert [len(group) for group in batches.together(found, 1)] == [1] * 7


def test_one_item_is_fetched_ahead_and_no_more():
    asked, known = [], threading.Semaphore(0)

    def fetch(item):
        asked.append(item)
        known.release()
        return item * 10

    found = batches.ahead(fetch, [1, 2, 3, 4])
    assert next(found) == 10
    known.acquire(), known.acquire()
    assert asked == [1, 2]
    assert list(found) == [20, 30, 40] and asked == [1, 2, 3, 4]
    assert list(batches.ahead(fetch, [])) == []


def test_an_error_of_a_fetch_reaches_who_asked():
    with pytest.raises(ZeroDivisionError):
        list(batches.ahead(lambda item: 1 // item, [1, 0]))
