"""One real search from its first trial to its page, and the command that starts it."""

import dataclasses
import os

import numpy as np
import pytest

from tests import searches
from tests.conftest import tiny_backbone
from tests.searches import LINE, PLAN, Script, silent, sure
from tlkit import files
from tlkit.models.classifier import Classifier
from tlkit.phases import recipe_format
from tlkit.training.run import Run
from tlkit.tuning import conclusion, finalists, search
from tlkit.tuning.finalists import Finalist
from tlkit.tuning.space import phases_of
from tlkit.tuning.study import Trial
from tlkit.workflows import recipes


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("search_home")


@pytest.fixture(scope="module")
def images(photos, home):
    return searches.read(photos, home)


@pytest.fixture(scope="module")
def model(images):
    return Classifier(tiny_backbone(), images.class_names)


@pytest.fixture(scope="module")
def before(model):
    return [weight.numpy() for weight in model.keras_model.weights]


@pytest.fixture(scope="module")
def found(model, before, images, home, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_HOME", str(home))
        return search.search(
            model, images, silent, minutes=None, trials=3, finalists=1, repeats=1, plan=PLAN,
            space=LINE, algorithm="random", out=tmp_path_factory.mktemp("searches"), images=36,
            seed=2,
        )  # fmt: skip


def log_loss(logits, labels):
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return -np.log(chances[np.arange(len(labels)), labels]).mean()


def test_every_trial_of_a_search_is_trained(found, model, before):
    assert [(t.number, t.status, t.message) for t in found.trials] == [
        (number, "done", "") for number in range(3)
    ]
    assert found.trials[0].settings == LINE.default
    for trial in found.trials:
        epochs = 2 if trial.settings["unfreeze"] == "none" else 4
        assert trial.epochs == len(trial.curve) == epochs
        assert 0 < trial.loss < 1.2 and trial.seconds > 0 and trial.peak_mb > 50
    for weight, value in zip(model.keras_model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)  # the model itself is not trained


def test_the_finalists_are_the_default_and_the_best_from_another_seed(found):
    best = min(found.trials[1:], key=lambda trial: trial.loss)
    assert {one.number for one in found.finalists} == {0, best.number}
    for one in found.finalists:
        run = Run.open(found.folder / "finalists" / f"{one.number:04d}-3")
        assert run.finished and run.seed == 3 and one.folders == [run.folder]
        assert (run.model.head, run.phases) == phases_of(one.settings, PLAN, run.model.head)


def test_the_winner_is_the_finalist_with_the_least_loss(found, images):
    folders = sorted((found.folder / "finalists").iterdir())
    assert len(folders) == 2
    losses = {
        int(folder.name[:4]): log_loss(np.load(folder / "val_logits.npy"), images.val.labels)
        for folder in folders
    }
    number = min(losses, key=losses.get)
    assert found.finalists[0].number == number
    assert found.settings == found.trials[number].settings and found.verdict
    assert found.run.phases == Run.open(found.folder / "finalists" / f"{number:04d}-3").phases


def test_the_winner_alone_is_judged_on_the_test_images(found, images):
    run = found.run
    assert run.finished and (run.folder / "report.html").exists()
    metrics = files.read_json(run.folder / "metrics.json")
    assert set(metrics) == {"val", "test"} and found.test == metrics["test"]
    for other in (found.folder / "finalists").iterdir():
        assert "test" not in files.read_json(other / "metrics.json")
    chances = run.model.predict(list(images.test.files))
    hits = chances.argmax(1) == images.test.labels
    assert found.test["n"] == 18 and found.test["accuracy"]["value"] == pytest.approx(hits.mean())
    chosen = chances[np.arange(18), images.test.labels]
    assert found.test["log_loss"]["value"] == pytest.approx(-np.log(chosen).mean(), rel=1e-3)


def test_the_recipe_says_all_that_the_winner_was(found, model, images, photos):
    told = recipe_format.read(found.recipe)
    assert told["source"] == str(photos) and told["data"] == {"val_share": 0.25}
    assert told["seed"] == 3 and recipe_format.phases_in(told) == found.run.phases
    again = recipes.classifier(told, images.class_names)
    assert again.head == found.run.model.head and again.rule == model.rule
    for mine, his in zip(again.backbone.net.weights, model.backbone.net.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), his.numpy())  # untrained, as it was


def test_the_first_seed_is_crowned_and_without_test_images_none_is_judged(found, images, tmp_path):
    folders = [one.folders[0] for one in found.finalists][::-1]  # the second seed did better
    data = dataclasses.replace(images, splits=np.where(images.splits == "test", "", images.splits))
    one = Finalist(0, {}, folders, np.zeros((2, 30, 3)), images.val.labels)
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "of an earlier search").touch()
    assert conclusion.install_winner(tmp_path, one, data) is None
    crowned = Run.open(tmp_path / "best")
    assert crowned.phases == Run.open(folders[0]).phases != Run.open(folders[1]).phases
    assert set(files.read_json(tmp_path / "best" / "metrics.json")) == {"val"}
    assert not (tmp_path / "best" / "of an earlier search").exists()


def test_the_result_file_and_the_page_show_everything_without_network(found):
    told = files.read_json(found.folder / "result.json")
    assert told["settings"] == found.settings and told["verdict"] == found.verdict
    page = (found.folder / "report.html").read_text()
    assert page.count("<svg") == 3 and "too few" in page and "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert finalists.CURSE[:40] in page and "stage3" in page and found.verdict in page
    assert "On 18 test images" in page


def test_a_finished_search_trains_nothing_again(found, model, images):
    worker = Script(lambda job: pytest.fail("trained again"))
    again = searches.searcher(
        model, images, found.folder.parent, worker, trials=3, finalists=1, repeats=1,
        algorithm="random", images=36, seed=2,
    )  # fmt: skip
    again.explore()
    again.confirm()
    assert again.study.folder == found.folder and not worker.jobs
    assert conclusion.judged(again).settings == found.settings


# Without training


def test_without_a_plan_the_quick_advice_makes_it(model, images, tmp_path):
    """The tiny net has `test values` for weights, so the advice is not the plan from scratch."""
    from tlkit.advice.advise import quick_advice

    worker = Script()
    with pytest.raises(KeyboardInterrupt):
        search.search(model, images, _stop, worker, trials=1, minutes=None, out=tmp_path)
    (folder,) = tmp_path.iterdir()
    parts = files.read_json(folder / "study.json")["parts"]
    advised = quick_advice(model, images).phases
    assert [phase["name"] for phase in parts["plan"]] == [phase.name for phase in advised]
    assert [phase["rate"] for phase in parts["plan"]] == [phase.rate for phase in advised]


def _stop(event):
    raise KeyboardInterrupt


def test_a_worker_of_another_machine_trains_no_finalist(model, images, tmp_path, monkeypatch):
    from tlkit.tuning import distributed

    for name, value in zip(distributed.ENVIRONMENT, ("worker-1", "127.0.0.1", "1"), strict=True):
        monkeypatch.setenv(name, value)
    worked = []
    monkeypatch.setattr(distributed, "work", worked.append)
    worker = Script()
    told = search.search(
        model, images, silent, worker, trials=1, minutes=None, plan=PLAN, space=LINE, out=tmp_path
    )
    assert len(worked) == 1 and not worker.jobs and worker.stopped
    assert told.finalists == [] and told.folder == worked[0].study.folder


def test_a_chief_leads_and_confirms(model, images, tmp_path, monkeypatch):
    from tlkit.tuning import distributed

    for name, value in zip(distributed.ENVIRONMENT, ("chief", "127.0.0.1", "1"), strict=True):
        monkeypatch.setenv(name, value)

    def lead(searcher):
        searches.ended(searcher, [0.9, 0.5])

    monkeypatch.setattr(distributed, "lead", lead)
    monkeypatch.setattr(search, "conclude", conclusion.judged)
    worker = Script(lambda job: {"logits": sure(images.val.labels, 0.5)})
    told = search.search(
        model, images, silent, worker, trials=2, minutes=None, plan=PLAN, space=LINE, repeats=1,
        out=tmp_path,
    )  # fmt: skip
    assert list(map(searches.place, worker.jobs)) == [(0, 1), (1, 1)]
    assert len(told.finalists) == 2


# The command


def test_the_command_passes_its_options_on_and_tells_the_result(
    found, photos, monkeypatch, tmp_path
):
    from click.testing import CliRunner

    from tlkit.cli.search import search as command

    given = {}

    def searched(model, data, watch, **options):
        given.update(options, model=model)
        watch({"event": "start", "trial": 0, "settings": {}})
        watch({"event": "epoch", "trial": 0, "epoch": 1, "val_loss": 0.5})
        watch({"event": "trial", "trial": 0, "result": found.trials[0]})
        return found

    monkeypatch.setattr(search, "search", searched)
    done = CliRunner().invoke(
        command, [str(photos), "--backbone", "lenet-5-modern", "--weights", "none", "--size", "32",
                  "--minutes", "3", "--trials", "4", "--out", str(tmp_path), "--space", "a.toml",
                  "--algorithm", "grid", "--images", "50", "--finalists", "5", "--repeats", "6",
                  "--memory", "700", "--seed", "9", "--engine", "auto", "--resize", "pad"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    told, store, origin = given.pop("model"), given.pop("store"), given.pop("origin")
    assert given == {
        "minutes": 3.0, "trials": 4, "out": str(tmp_path), "space": "a.toml", "algorithm": "grid",
        "images": 50, "finalists": 5, "repeats": 6, "memory": 700.0, "seed": 9,
    }  # fmt: skip
    assert store.engine == "auto" and (told.rule.size, told.rule.resize) == (32, "pad")
    assert origin == {"backbone": "lenet-5-modern", "weights": None, "size": 32, "resize": "pad",
                      "seed": 9}  # fmt: skip
    for words in ("trial   0 done", "winner.py", "Test images", "left"):
        assert words in done.output
    assert found.verdict[1:] in done.output


def test_the_live_table_shows_the_best_and_the_time_left():
    from rich.console import Console

    from tlkit.cli.search import Table

    table = Table(minutes=10.0)
    losses = [0.5, 0.25, None, 0.4]
    for number, loss in enumerate(losses):
        settings = {"head_rate": 0.01 * (number + 1)}
        trial = Trial(number, settings, status="done" if loss else "failed", loss=loss)
        trial.accuracy = 0.5 if loss else None
        table.watch({"event": "start", "trial": number, "settings": settings})
        table.watch({"event": "trial", "trial": number, "result": trial})
    table.watch({"event": "start", "trial": 4, "settings": {}})
    table.watch({"event": "epoch", "trial": 4, "epoch": 3, "val_loss": 0.125})
    console = Console(width=160, record=True, file=open(os.devnull, "w"))
    console.print(table.render())
    console.file.close()
    text = console.export_text()
    assert "trial 4: epoch 3, validation loss 0.125" in text and "head_rate" in text
    assert "best 0.2500, trial 1" in text and ("9:59 left" in text or "10:00 left" in text)
    assert len(table.rows) == 4
