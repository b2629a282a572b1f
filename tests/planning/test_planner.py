"""Estimates count right and leave the model alone."""

import dataclasses

import numpy as np
import pytest

from tests.conftest import tiny_backbone
from tlkit.augmentation import policies
from tlkit.backbones import weights
from tlkit.errors import AuditError
from tlkit.features import decoded
from tlkit.features import frozen as features
from tlkit.features.store import Store
from tlkit.images.dataset import load_images
from tlkit.models.classifier import Classifier
from tlkit.phases.phase import Phase
from tlkit.planning import estimate
from tlkit.planning.counting import Sizes
from tlkit.planning.timing import Timings
from tlkit.training import train as finetune
from tlkit.training import untouched

HEAD = Phase("head", epochs=4, views=2, augment="flip", batch_size=16, rate=0.01)
TAIL = dataclasses.replace(HEAD, name="tail", unfreeze="stage3")
BATCH = decoded.BATCH


@pytest.fixture(scope="module")
def data(photos):
    """The photos, checked and split; nothing is kept outside the tests' own folders."""
    return load_images(photos, cache=False)


@pytest.fixture(scope="module")
def model(data):
    """A model that every estimate must leave as it was."""
    return Classifier(tiny_backbone(), data.class_names)


def ticking():
    """Returns a clock on which whatever is timed takes one second."""
    ticks = iter(range(10_000))
    return lambda: float(next(ticks))


def estimated(model, data, *plan, store=None, **options):
    return estimate.estimate(model, data, plan, store=store or Store(), clock=ticking(), **options)


def test_a_plan_from_the_cache_by_hand(model, data, capsys):
    train, val = len(data.train), len(data.val)
    capsys.readouterr()
    head, tail = estimated(model, data, HEAD, TAIL).phases
    assert capsys.readouterr().err == "", "an estimate is made in silence"
    # A batch of BATCH rows takes a second forward and one to draw; 32 files take one to decode.
    assert head.views == pytest.approx(2 * train * (1 / BATCH + 1 / BATCH))
    assert head.others == pytest.approx((train + val) / 32 + val / BATCH)
    assert (head.start, tail.start) == (2, 1)  # tracing, and compiling where rows are computed
    # Sixteen steps of sixteen rows in one call; a row is judged in a third of the time.
    assert head.epoch == pytest.approx(train / 256 + val / 768 + estimate.EPOCH, abs=1e-4)
    assert (tail.views, tail.others) == (0, 0)  # out of the head's pass
    assert tail.epoch == pytest.approx(train / 16 + val / 48 + estimate.EPOCH, abs=1e-3)
    assert (head.epochs, tail.epochs) == (4, 4)


def test_a_live_plan_by_hand(model, data):
    train, val = len(data.train), len(data.val)
    (head,) = estimated(model, data, HEAD, store=Store(memory=1)).phases
    assert (head.views, head.cache, head.start) == (0, 0, 2)
    assert head.others == pytest.approx((train + val) / 32)
    each = train * (1 / 256 + 2 / BATCH) + val * (1 / 768 + 1 / BATCH)  # no look at validation
    assert head.epoch == pytest.approx(each + estimate.EPOCH, abs=1e-4)
    everything = dataclasses.replace(TAIL, unfreeze="all", batch_size=8)
    (whole,) = estimated(model, data, everything).phases
    assert whole.epoch == pytest.approx(
        train * (1 / 8 + 1 / BATCH) + val / 24 + estimate.EPOCH, abs=1e-3
    )
    assert (whole.cache, whole.start) == (0, 1)


TIMED = Timings(
    decode=2.0, forward=3.0, draw=5.0, step=6.0, compile=7.0, trace=11.0, open_bytes=10**8
)
SIZES = Sizes(train=10, val=100, decoded=110, views=20, judged=50, cached=True, cache=17)


def test_the_cost_is_arithmetic_on_what_was_timed_and_counted():
    kept = estimate.cost(TIMED, SIZES, HEAD)
    assert (kept.name, kept.epochs, kept.cache) == ("head", 4, 17)
    assert (kept.views, kept.others) == ((3 + 5) * 20, 2 * 110 + 3 * 50)
    assert kept.start == 7 + 11  # compiled for the rows that are not there
    each = estimate.EPOCH + 1.0  # a checkpoint of four values for each weight, 400 MB a second
    assert kept.epoch == pytest.approx(6 * 10 + 2 * 100 + each)
    there = estimate.cost(TIMED, dataclasses.replace(SIZES, views=0, judged=0), HEAD)
    assert (there.views, there.others, there.start) == (0, 2 * 110, 11)
    live = dataclasses.replace(SIZES, views=0, judged=0, cached=False, cache=0)
    anew = estimate.cost(TIMED, live, HEAD)  # in every epoch, and views are drawn of training only
    assert anew.epoch == pytest.approx((6 + 3 + 5) * 10 + (2 + 3) * 100 + each)
    assert (anew.views, anew.others, anew.start, anew.cache) == (0, 2 * 110, 7 + 11, 0)


def test_no_view_is_drawn_where_nothing_is_augmented(model, data):
    plain = dataclasses.replace(HEAD, augment="none", views=4)
    (head,) = estimated(model, data, plain).phases
    assert head.views == pytest.approx(len(data.train) / BATCH)
    assert head.cache == len(data.train) * 16 * 4
    still = dataclasses.replace(HEAD, strength=0.0)
    assert estimated(model, data, still).phases[0].views > 0


def test_several_batches_that_make_one_step(model, data):
    joined = dataclasses.replace(TAIL, accumulate=2)
    (tail,) = estimated(model, data, joined).phases
    each = len(data.train) / 32 + len(data.val) / 96
    assert tail.epoch == pytest.approx(each + estimate.EPOCH, abs=1e-3)


def test_the_least_of_the_timed_passes_counts(model, data):
    """Each span is timed by two looks at the clock; the first of three steps is slow here."""
    now, spans = 0.0, iter(range(100))

    def uneven():
        nonlocal now
        span = next(spans)
        now += 9.0 if span in (5, 11, 19) else 1.0  # forward, a view, a step
        return now

    found = estimate.estimate(model, data, (TAIL,), store=Store(), clock=uneven)
    even = estimated(model, data, TAIL)
    assert [phase.seconds for phase in found.phases] == [phase.seconds for phase in even.phases]


def test_what_the_network_and_its_rows_take(model, data, monkeypatch, tmp_path):
    monkeypatch.setattr(estimate, "held_mb", lambda: 7e3)
    network = 4 * sum(4 * int(np.prod(variable.shape)) for variable in model.variables)
    pixels = (len(data.train) + len(data.val)) * 32 * 32 * 3
    more = dataclasses.replace(TAIL, views=3)
    found = estimated(model, data, HEAD, more)
    rows = sum(phase.cache for phase in found.phases)
    assert found.held == 2 * (rows + pixels) and found.views == 3
    assert found.memory == 7e9 + estimate.OVERHEAD + found.held + network
    layers = len(model.backbone.net.layers)
    assert found.saving == pytest.approx(2 * 0.004 * layers)
    on_disk = estimated(model, data, HEAD, more, store=Store(tmp_path))
    assert on_disk.held == found.phases[1].cache + pixels  # one phase after the other


def standing(model):
    """Returns all that an estimate must leave alone."""
    found = {name: of for name, of in untouched.state(model).items()
             if name not in ("compilation", "optimizer")}  # fmt: skip
    layers = model.backbone.net.layers
    flags = [(layer.trainable, getattr(layer, "momentum", None)) for layer in layers]
    return found, flags, weights.fingerprint(model.variables), model.extractor.live


@pytest.mark.parametrize("norm", ["frozen", "train"])
def test_the_model_ends_bit_equal(model, data, norm):
    before = standing(model)
    assert estimated(model, data, HEAD, dataclasses.replace(TAIL, batch_norm=norm)).seconds > 0
    assert standing(model) == before


def test_a_model_that_is_not_put_back_is_noticed(data):
    model = Classifier(tiny_backbone(), data.class_names)

    def meddling():  # a clock that changes weights while files are decoded
        model.variables[0].assign_add(np.ones(model.variables[0].shape))
        return 0.0

    with pytest.raises(AuditError, match="leave alone: weights"):
        estimate.estimate(model, data, (HEAD,), store=Store(), clock=meddling)


def test_only_the_highest_boundary_comes_out_of_the_head_pass(model, data):
    deeper = dataclasses.replace(TAIL, name="deeper", unfreeze="stage2")
    found = estimated(model, data, HEAD, TAIL, deeper)
    assert [phase.views > 0 for phase in found.phases] == [True, False, True]
    head, tail, _ = found.phases
    assert head.cache == 2 * len(data.train) * 16 * 4
    assert tail.cache == 2 * len(data.train) * 8 * 8 * 12 * 2  # float16 maps


def test_rows_that_are_there_cost_nothing(model, data, tmp_path):
    store = Store()
    trained = Classifier(tiny_backbone(), data.class_names)
    finetune.train(trained, data, (HEAD, TAIL), store=store, seed=7, out=tmp_path / "run")
    known = estimated(model, data, HEAD, TAIL, store=store, seed=7)
    assert [phase.rows for phase in known.phases] == [0, 0]
    assert [phase.start for phase in known.phases] == [1, 1]
    other = estimated(model, data, HEAD, store=store).phases[0]  # views of another seed
    each = len(data.train) * (1 / BATCH + 1 / BATCH)
    assert other.views == pytest.approx(2 * each) and other.others == 0
    longer = estimated(model, data, dataclasses.replace(HEAD, views=3), store=store, seed=7)
    assert longer.phases[0].views == pytest.approx(each)  # two of three are there


def test_no_more_rows_are_in_memory_than_is_said(model, data, tmp_path):
    views = [features.View(policies.policy("flip", 1.0), 0, number) for number in range(2)]
    train, val = len(data.train), len(data.val)
    one = train * 8 * 8 * 12 * 2  # a view of float16 maps at stage2
    pixel_bytes = (train + val) * 32 * 32 * 3
    for number, (limit, kept) in enumerate([(one, 2 * one), (one - 1, 0), (pixel_bytes, 2 * one)]):
        store = Store(tmp_path / str(number), memory=limit)
        found = estimated(model, data, TAIL, store=store)
        frozen = features.Frozen(model, store)
        rows = [frozen.rows(data.train, "stage2", view) for view in views]
        held = sum(part.nbytes for part in rows if not isinstance(part, np.memmap))
        assert held == kept
        assert found.held == kept + (pixel_bytes if pixel_bytes <= limit else 0)


def test_a_timing_that_is_cut_off_leaves_the_model_as_it_was(model, data):
    before = standing(model)
    ticks = iter(range(20))  # of 24: steps have been trained by then

    def cut_off():
        if (tick := next(ticks, None)) is None:
            raise KeyboardInterrupt
        return float(tick)

    live = dataclasses.replace(TAIL, batch_norm="train")
    with pytest.raises(KeyboardInterrupt):
        estimate.estimate(model, data, (live,), store=Store(), clock=cut_off)
    assert standing(model) == before
