"""What a search tells its worker, when it ends, and what it keeps for its finalists."""

import dataclasses
import math

import pytest

from tests import searches
from tests.conftest import tiny_backbone
from tests.searches import LINE, PLAN, Clock, Script, ended, place, searcher, sure
from tlkit.features.store import Store
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head
from tlkit.tuning import worker as workers
from tlkit.tuning.proposals import Past, Proposal, propose
from tlkit.tuning.searcher import Options, Searcher
from tlkit.tuning.space import Row, Space
from tlkit.tuning.study import Trial


@pytest.fixture(scope="module")
def images(photos, tmp_path_factory):
    return searches.read(photos, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def model(images):
    return Classifier(tiny_backbone(), images.class_names, head=Head(dropout=0.3))


# Trials


def test_a_trial_is_told_exactly_this(model, images, tmp_path):
    worker = Script()
    store = Store(tmp_path / "rows", engine="auto")
    searching = searcher(
        model, images, tmp_path / "out", worker, trials=1, seed=7, images=40, epochs=0.5,
        store=store,
    )  # fmt: skip
    searching.explore()
    folder = searching.study.folder
    assert worker.jobs == [{
        "manifest": str(folder / "manifest.json"), "model": str(folder / "start"),
        "head": {"kind": "linear", "dropout": 0.3, "init": "zero"},
        "phases": [dataclasses.asdict(dataclasses.replace(phase, epochs=1)) for phase in PLAN],
        "seed": 7, "images": 40, "store": str(tmp_path / "rows"), "engine": "auto",
        "deadline": None, "out": None,
    }]  # fmt: skip
    assert (folder / "manifest.json").exists() and (folder / "start" / "model.keras").exists()


def test_a_shorter_trial_gets_its_share_of_the_epochs_of_a_trial(model, images, tmp_path):
    long = [dataclasses.replace(phase, epochs=12) for phase in PLAN]
    searching = searcher(model, images, tmp_path, epochs=0.5, plan=long)
    trial = searching.attempt(3, Proposal({"rate": 0.01, "head": "mlp"}, 1 / 3))
    searching.attempt(4, Proposal({}, 1 / 40))
    first, second = searching.worker.jobs
    assert [phase["epochs"] for phase in first["phases"]] == [2, 2]
    assert [phase["epochs"] for phase in second["phases"]] == [1, 1]
    assert [phase["rate"] for phase in first["phases"]] == [0.02, 0.01]
    assert (first["head"]["kind"], second["head"]["kind"]) == ("mlp", "linear")
    assert (trial.number, trial.share) == (3, 1 / 3)
    assert trial.settings == {"rate": 0.01, "head": "mlp"}


def test_what_comes_of_a_trial_is_kept_and_shown(model, images, tmp_path):
    seen = []
    facts = {"loss": 0.25, "accuracy": 0.75, "epochs": 3, "curve": [1.0, 0.25], "peak_mb": 80.0}
    facts |= {"seconds": 5.0, "batch_size": 4, "message": "", "status": "done"}

    class Telling(Script):
        def run(self, job, watch):
            watch({"event": "epoch", "epoch": 1})
            return super().run(job, watch)

    searcher(model, images, tmp_path, Telling(lambda job: facts), seen.append, trials=1).explore()
    wanted = Trial(0, LINE.default, **facts)
    assert seen == [
        {"event": "start", "trial": 0, "settings": LINE.default},
        {"event": "epoch", "epoch": 1, "trial": 0},
        {"event": "trial", "trial": 0, "result": wanted},
    ]
    assert searcher(model, images, tmp_path).study.trials == {0: wanted}


def test_the_algorithm_is_told_every_loss_and_failure(model, images, tmp_path):
    losses = [2.0, 0.5, None, 0.25, 1e-9, 0.8, 0.4]
    scores = [math.log(math.log(3)), math.log(0.5), None, math.log(0.25), math.log(1e-6)]
    scores += [math.log(0.8), math.log(0.4)]

    def play(job):
        loss = losses[len(worker.jobs) - 1] if len(worker.jobs) <= len(losses) else 1.0
        return {"loss": loss, "accuracy": 0.5, "status": "done" if loss is not None else "failed"}

    worker = Script(play)
    searching = searcher(model, images, tmp_path, worker, trials=8, algorithm="bayesian", seed=5)
    searching.explore()
    tried = [trial.settings for trial in searching.study.finished]
    past = [Past(settings, score) for settings, score in zip(tried, scores, strict=False)]
    assert tried[0] == LINE.default and len(tried) == 8
    assert [searching.score(trial) for trial in searching.study.finished[:7]] == scores
    assert tried[7] == propose("bayesian", LINE, past, 5).settings
    turned = [Past(settings, past[-1 - i].score) for i, (settings, _, _) in enumerate(past)]
    assert tried[7] != propose("bayesian", LINE, turned, 5).settings


@pytest.mark.parametrize("algorithm", ["random", "grid", "hyperband"])
def test_the_algorithm_asked_for_is_the_one_that_is_asked(model, images, tmp_path, algorithm):
    searching = searcher(model, images, tmp_path, trials=2, algorithm=algorithm, seed=2)
    searching.explore()
    first, second = searching.study.finished
    past = [Past(LINE.default, searching.score(first))]
    assert (second.settings, second.share) == propose(algorithm, LINE, past, 2)
    others = {"random", "grid", "hyperband"} - {algorithm}
    assert all(propose(other, LINE, past, 2).settings != second.settings for other in others)


def test_a_space_that_is_exhausted_ends_the_search(model, images, tmp_path, capsys):
    small = Space((Row("smoothing", (0.0, 0.1)), Row("dropout", (0.0, 0.2))))
    searching = searcher(model, images, tmp_path, space=small, algorithm="grid", trials=None)
    searching.explore()
    assert len(searching.study.finished) == 4
    assert "Every combination in the space was tried" in capsys.readouterr().err


# The time


def test_at_least_half_and_at_most_nine_tenths_of_the_time_is_for_trials(model, images, tmp_path):
    clock = Clock(50.0)
    searching = searcher(model, images, tmp_path, clock=clock, minutes=10)
    assert searching.left_to_search() == pytest.approx(300)  # nothing is known of finalists yet
    assert searching.left() == pytest.approx(588) and searching.left(1.0) == pytest.approx(600)
    searching.study.add(Trial(0, LINE.default, loss=1.0, seconds=0.1))
    clock.now += 40
    assert searching.left_to_search() == pytest.approx(540 - 40)
    searching.study.add(Trial(1, LINE.default, loss=1.0, seconds=500.0))
    assert searching.left_to_search() == pytest.approx(300 - 40)


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        ({}, 12),  # (3 finalists + the default) from 3 seeds
        ({"finalists": 2, "repeats": 2}, 6),
        ({"images": 36}, 24),  # on twice the images
        ({"epochs": 0.5}, 24),
        ({"images": None}, 12),
    ],
)
def test_confirming_is_judged_by_the_trials(model, images, tmp_path, options, runs):
    assert len(images.train) == 72
    searching = searcher(model, images, tmp_path, clock=Clock(), minutes=20, **options)
    searching.study.add(Trial(0, LINE.default, loss=1.0, seconds=10.0))
    searching.study.add(Trial(1, LINE.default, loss=1.0, seconds=5.0, share=1 / 4))
    searching.study.add(Trial(2, LINE.default, status="failed", seconds=900.0))
    assert searching.left_to_search() == pytest.approx(0.98 * 1200 - 1.3 * runs * 15.0)


def test_no_trial_is_begun_that_could_not_come_half_way(model, images, tmp_path):
    clock = Clock()
    worker = Script(lambda job: {"loss": 0.5, "seconds": 40.0}, clock)
    searching = searcher(
        model, images, tmp_path, worker, clock=clock, minutes=10, finalists=1, repeats=1
    )
    searching.explore()
    most = 0.98 * 600 - 1.3 * 2 * 40  # 484 s: twelve trials of 40 s, and 4 s are left
    assert clock.now - 1000 == 480 and len(searching.study.finished) == 12
    deadlines = [job["deadline"] - 1000 for job in worker.jobs]
    assert deadlines == pytest.approx([300] + [most] * 11)


def test_the_clock_begins_with_the_search_and_no_limit_is_none(model, images, tmp_path):
    searching = searcher(model, images, tmp_path, clock=Clock())
    searching.attempt(0, Proposal(LINE.default))
    assert searching.left() == searching.left_to_search() == math.inf
    assert searching.worker.jobs[0]["deadline"] is None


# The finalists


def confirmed(model, data, out, losses, play=None, clock=None, **options):
    labels = data.val.labels
    worker = Script(play or (lambda job: {"logits": sure(labels, 0.5)}), clock)
    searching = searcher(model, data, out, worker, clock=clock, **options)
    ended(searching, losses)
    searching.confirm()
    return searching


def test_the_best_and_the_default_are_trained_on_all_images_from_fresh_seeds(
    model, images, tmp_path
):
    losses = [0.9, 0.3, None, 0.5, 0.2, 0.6]
    searching = confirmed(
        model, images, tmp_path, losses, finalists=2, repeats=2, seed=5, images=20, epochs=0.5
    )
    jobs = searching.worker.jobs
    assert list(map(place, jobs)) == [(0, 6), (4, 6), (1, 6), (0, 7), (4, 7), (1, 7)]
    assert [job["seed"] for job in jobs] == [6, 6, 6, 7, 7, 7]
    assert all(job["images"] is None for job in jobs)
    rates = [job["phases"][0]["rate"] for job in jobs]
    assert rates == pytest.approx([0.02, 0.024, 0.021] * 2)
    assert all([phase["epochs"] for phase in job["phases"]] == [2, 2] for job in jobs)
    folder = searching.study.folder / "finalists"
    assert searching.confirmed == {
        number: [folder / f"{number:04d}-6", folder / f"{number:04d}-7"] for number in (0, 4, 1)
    }


def test_a_default_among_the_best_takes_no_place_of_another(model, images, tmp_path):
    searching = confirmed(model, images, tmp_path, [0.1, 0.5, 0.4], finalists=2, repeats=1)
    assert list(map(place, searching.worker.jobs)) == [(0, 1), (2, 1), (1, 1)]


def test_every_finalist_has_one_seed_before_any_has_two_and_the_end_binds(model, images, tmp_path):
    clock = Clock()
    labels = images.val.labels

    def play(job):
        return {"logits": sure(labels, 0.5), "seconds": 100.0}

    options = {"minutes": 10, "finalists": 1, "repeats": 3}
    searching = confirmed(model, images, tmp_path, [0.9, 0.5], play, clock, **options)
    # 588 s: after five runs 88 s are left, less than the longest run took.
    assert list(map(place, searching.worker.jobs)) == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3)]
    assert {job["deadline"] for job in searching.worker.jobs} == {1588.0}


def test_without_time_no_finalist_is_begun(model, images, tmp_path):
    clock = Clock()
    searching = searcher(model, images, tmp_path, clock=clock, minutes=10)
    ended(searching, [0.9, 0.5])
    clock.now += 589
    searching.confirm()
    assert searching.worker.jobs == [] and searching.confirmed == {}


def test_a_finalist_that_is_there_is_not_trained_again(model, images, tmp_path):
    options = {"finalists": 1, "repeats": 2}
    first = confirmed(model, images, tmp_path, [0.9, 0.5], **options)
    (first.study.folder / "finalists" / "0001-2" / "val_logits.npy").unlink()
    (first.study.folder / "finalists" / "0001-2").rmdir()
    again = confirmed(model, images, tmp_path, [0.9, 0.5], **options)
    assert list(map(place, again.worker.jobs)) == [(1, 2)]
    assert again.confirmed == first.confirmed


def test_a_default_that_was_cut_is_no_finalist(model, images, tmp_path):
    searching = searcher(model, images, tmp_path, repeats=1)
    searching.study.add(Trial(0, LINE.default, status="cut", loss=0.9))
    searching.confirm()
    assert searching.worker.jobs == []


def test_a_batch_that_memory_halved_stays_halved(model, images, tmp_path):
    answer = {"status": "cut", "batch_size": 4}
    searching = searcher(model, images, tmp_path, Script(lambda job: answer))
    searching.study.add(Trial(0, LINE.default, loss=0.5, batch_size=8))
    searching.confirm()
    sizes = [[phase["batch_size"] for phase in job["phases"]] for job in searching.worker.jobs]
    assert sizes == [[8, 8], [4, 4], [4, 4]]
    assert searcher(model, images, tmp_path).study.trials[0].batch_size == 4
    _, phases = searching.trained(LINE.default, 100)
    assert [phase.batch_size for phase in phases] == [16, 16]


# Options


@pytest.mark.parametrize("name", ["space object", "space file", "default space"])
def test_the_space_asked_for_is_searched(model, images, tmp_path, name):
    path = tmp_path / "space.toml"
    path.write_text("only = true\n[clip]\nlow = 0.5\nhigh = 2.0\n")
    space = {"space object": LINE, "space file": path, "default space": None}[name]
    searching = searcher(model, images, tmp_path / "out", trials=2, space=space, algorithm="random")
    searching.explore()
    names = set(searching.study.finished[1].settings)
    if name == "space object":
        assert "head_rate" in names <= {"unfreeze", "rate", "head_rate"}
    elif name == "space file":
        assert names == {"clip"} and searching.worker.jobs[1]["phases"][0]["clip"] >= 0.5
    else:
        assert {"dropout", "head", "optimizer"} <= names
        assert searching.study.finished[0].settings["dropout"] == 0.3  # of the model's own head
        assert searching.space.rows[0].values == ("none", "stage2", "stage3")


def test_the_worker_has_the_memory_asked_for_and_the_folder_its_name(
    model, images, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    searching = Searcher(model, images, Options(plan=PLAN, memory=1234.0), searches.silent)
    assert isinstance(searching.worker, workers.Worker) and searching.worker.memory == 1234.0
    assert searching.worker.folder == searching.study.folder / "work"
    assert searching.study.folder.parent.name == "photos0-tiny"
    assert searching.study.folder.parent.parent.name == "searches"


def test_without_a_plan_a_hunt_takes_the_default_one(model, images, tmp_path):
    searching = searcher(model, images, tmp_path, plan=None)
    assert [phase.name for phase in searching.plan] == ["head", "fine-tune"]
    assert searching.plan[1].unfreeze == "stage3"
