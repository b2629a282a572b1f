"""A search keeps what is done, honours its time, seals the test images and says what it knows."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import tiny_backbone
from tlkit import files, finalists, oracles, recipe_files, scale_out, searching, trials
from tlkit.data import load_images
from tlkit.errors import TlkitError
from tlkit.finalists import Finalist
from tlkit.hunt import Hunt, Options
from tlkit.model import Classifier
from tlkit.phases import Phase
from tlkit.space import Row, Space
from tlkit.study import Trial

PLAN = (
    Phase("head", epochs=2, rate=0.02, views=2, augment="flip", batch_size=16),
    Phase("tail", unfreeze="stage3", epochs=2, rate=0.005, views=2, augment="flip", batch_size=16),
)
LINE = Space((
    Row("unfreeze", ("none", "stage3"), default="stage3"),
    Row("rate", low=1e-5, high=1e-1, log=True, default=5e-3, when=("unfreeze", ("stage3",))),
    Row("head_rate", low=1e-3, high=1e-1, log=True, default=0.02),
))  # fmt: skip


def silent(event):
    pass


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("search_home")


@pytest.fixture(scope="module")
def images(photos, home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_HOME", str(home))
        return load_images(photos)


@pytest.fixture(scope="module")
def model(images):
    return Classifier(tiny_backbone(), images.class_names)


@pytest.fixture
def formula(monkeypatch):
    """Scores trials by a formula: what is tested is the search, not the training."""
    monkeypatch.setattr(trials, "TRAIN", "tests.fake_trials:quadratic")


def hunt(model, data, out, watch=silent, **options):
    options = {"minutes": None, "space": LINE, "plan": PLAN, "memory": 4000.0, **options}
    return Hunt(model, data, Options(out=out, **options), watch)


# The whole way, with real training


@pytest.fixture(scope="module")
def found(model, images, home, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_HOME", str(home))
        return searching.search(
            model, images, silent, minutes=None, trials=3, finalists=1, repeats=1, plan=PLAN,
            space=LINE, algorithm="random", out=tmp_path_factory.mktemp("searches"), images=40,
        )  # fmt: skip


def test_the_default_is_the_first_trial_and_a_finalist(found):
    assert [(t.status, t.message) for t in found.trials] == [("done", "")] * 3
    assert found.trials[0].settings == LINE.default
    assert {finalist.number for finalist in found.finalists} > {0}
    assert found.settings == found.finalists[0].settings and found.verdict


def test_the_winner_is_trained_judged_once_and_exportable(found, images):
    run = found.run
    assert run.finished and found.test["n"] == len(images.test)
    assert set(files.read_json(found.folder / "best" / "metrics.json")) == {"val", "test"}
    for other in (found.folder / "finalists").iterdir():
        assert "test" not in files.read_json(other / "metrics.json")
    assert run.model.predict([images.test.files[0]]).shape == (1, 3)


def test_the_recipe_trains_with_the_winning_settings(found, tmp_path):
    again = recipe_files.train(recipe_files.read(found.recipe), tmp_path / "again")
    assert again.phases == found.run.phases and again.seed == found.run.seed
    assert again.model.head == found.run.model.head
    assert again.require_data().fingerprint == found.run.require_data().fingerprint
    best = [min(row["val_loss"] for row in run.history) for run in (again, found.run)]
    assert best[0] == pytest.approx(best[1], abs=0.3)  # other dropout: see `Classifier`'s seed


def test_the_page_shows_everything_without_network(found):
    page = (found.folder / "report.html").read_text()
    assert page.count("<svg") == 3 and "too few" in page and "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert finalists.CURSE[:40] in page and "stage3" in page


def test_finished_finalists_are_not_trained_again(found, model, images, monkeypatch):
    options = {"trials": 3, "finalists": 1, "repeats": 1, "algorithm": "random", "images": 40}
    again = hunt(model, images, found.folder.parent, **options)
    monkeypatch.setattr(again.worker, "run", None)
    again.explore()
    again.confirm()
    assert again.study.folder == found.folder and len(again.confirmed) == 2


# The task itself, in this process


def job(found, **fields):
    phases = [dataclasses.asdict(phase) for phase in PLAN]
    head = {"kind": "linear", "dropout": 0.2, "init": "zero"}
    return {
        "manifest": str(found.folder / "manifest.json"), "model": str(found.folder / "start"),
        "head": head, "phases": phases, "seed": 0, "images": None, "engine": "constants",
        "store": str(files.home() / "rows"), "deadline": None, "out": None, **fields,
    }  # fmt: skip


def nothing(**event):
    pass


def test_a_trial_is_repeatable_and_leaves_no_files(found, tmp_path):
    results = [trials.train(job(found, images=40), nothing, tmp_path) for _ in range(2)]
    assert results[0] == results[1] and not list(tmp_path.iterdir())
    assert results[0]["loss"] == pytest.approx(found.trials[0].loss, abs=1e-6)


def test_a_trial_stops_after_the_epoch_in_which_time_is_up(found, tmp_path):
    result = trials.train(job(found, deadline=time.time() - 1), nothing, tmp_path)
    assert (result["status"], result["epochs"]) == ("cut", 1)


@pytest.mark.parametrize("rate", [1e3, 1e30], ids=["diverging", "not finite"])
def test_divergence_prunes(found, tmp_path, rate):
    phase = dataclasses.asdict(PLAN[0]) | {"rate": rate, "optimizer": "sgd", "warmup": 0.0}
    result = trials.train(job(found, phases=[phase]), nothing, tmp_path)
    assert result["status"] == "pruned" and result["message"]


def test_a_trial_cannot_see_test_images(found):
    data = trials._data(str(found.folder / "manifest.json"), 40)
    assert len(data.test) == 0 and len(data.val) == 18 and len(data.train) == pytest.approx(40, 2)


# Killed, resumed, changed


class Killed(BaseException):
    pass


def dying(at):
    def watch(event):
        if event["event"] == "start" and event["trial"] == at:
            raise Killed

    return watch


def table(model, images, out, **options):
    searching = hunt(model, images, out, **options)
    with searching.worker:
        searching.explore()
    return searching.study.table()


@pytest.mark.parametrize("algorithm", oracles.ALGORITHMS)
def test_a_killed_and_resumed_search_gives_the_same_table(
    model, images, tmp_path, formula, algorithm
):
    options = {"algorithm": algorithm, "trials": 8}
    whole = table(model, images, tmp_path / "whole", **options)
    with pytest.raises(Killed):
        table(model, images, tmp_path / "killed", watch=dying(3), **options)
    (folder,) = (tmp_path / "killed").iterdir()
    assert len(list((folder / "trials").glob("*.json"))) == 3
    (folder / "trials" / "0001.json").write_text('{"torn')
    assert table(model, images, tmp_path / "killed", **options) == whole
    assert len(whole) == 8 and whole[0]["settings"] == LINE.default


def test_a_batch_that_memory_halved_stays_halved(model, images, tmp_path, formula, monkeypatch):
    searching = hunt(model, images, tmp_path, trials=1)
    seen = []
    answer = {"status": "cut", "message": "", "seconds": 1.0, "batch_size": 4}
    monkeypatch.setattr(searching.worker, "run", lambda job, watch: seen.append(job) or answer)
    searching.study.add(Trial(0, LINE.default, loss=0.5, batch_size=8))
    searching.confirm()
    sizes = [[phase["batch_size"] for phase in job["phases"]] for job in seen]
    assert sizes == [[8, 8], [4, 4], [4, 4]]
    _, phases = searching.trained(LINE.default, searching.study.trials[0].batch_size)
    assert [phase.batch_size for phase in phases] == [4, 4]


def test_a_longer_search_goes_on_and_a_changed_one_starts_anew(
    model, images, tmp_path, formula, photos, home, monkeypatch
):
    short = table(model, images, tmp_path, trials=2)
    assert table(model, images, tmp_path, trials=4)[:2] == short
    assert len(list(tmp_path.iterdir())) == 1
    rows = (*LINE.rows[:2], dataclasses.replace(LINE.rows[2], high=0.2))
    assert table(model, images, tmp_path, trials=1, space=Space(rows))
    monkeypatch.setenv("TLKIT_HOME", str(home))
    other = load_images(photos, seed=1)
    table(model, other, tmp_path, trials=1)
    table(Classifier(tiny_backbone(seed=1), images.class_names), images, tmp_path, trials=1)
    assert len(list(tmp_path.iterdir())) == 4


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(model, images, tmp_path, formula, capsys):
    def watch(event):
        if event["event"] == "start" and event["trial"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searching.search(model, images, watch, trials=5, space=LINE, plan=PLAN, out=tmp_path)
    told = capsys.readouterr().err
    assert "2 trials are kept" in told and "same command" in told
    assert len(table(model, images, tmp_path, trials=2)) == 2


def test_the_time_is_kept(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "TRAIN", "tests.fake_trials:slow")
    began = time.time()
    searching = hunt(model, images, tmp_path, minutes=4 / 60)
    with searching.worker:
        searching.explore()
    assert time.time() - began < 4
    assert searching.study.trials and searching.left_to_search() < 1


def test_no_trial_at_its_end_is_an_error_with_the_reason(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "TRAIN", "tests.fake_trials:broken")
    with pytest.raises(TlkitError, match="a planted crash"):
        searching.search(model, images, silent, minutes=None, trials=2, out=tmp_path, plan=PLAN)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"minuts": 3}, "Did you mean 'minutes'"),
        ({"algorithm": "tpe"}, "Unknown search algorithm"),
        ({"minutes": None}, "needs an end"),
        ({"epochs": 2.0}, "a share of 1"),
    ],
)
def test_wrong_options_are_explained(model, images, options, words):
    with pytest.raises(TlkitError, match=words):
        searching.search(model, images, **options)


def test_arrays_are_refused_with_a_way_out(model, tmp_path):
    draw = np.random.default_rng(0)
    x = draw.integers(0, 255, (60, 32, 32, 3)).astype(np.uint8)
    data = load_images((x, np.arange(60) % 3))
    with pytest.raises(TlkitError, match="write the images to files"):
        searching.search(Classifier(tiny_backbone(), data.class_names), data, out=tmp_path)


def test_a_missing_tuner_is_said_with_the_command(model, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    with pytest.raises(TlkitError, match=r"pip install 'tlkit\[search\]'"):
        searching.search(model, images, minutes=1)


# Finalists


def finalist(number, right, seeds=3, images=400, seed=0):
    """A finalist that is right on a share of the images."""
    draw = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    hit = draw.random((seeds, images)) < right
    logits = np.zeros((seeds, images, 2))
    np.put_along_axis(logits, np.where(hit, labels, 1 - labels)[..., None], 2.0, -1)
    return Finalist(number, {}, [Path()] * seeds, logits, labels)


def test_losses_and_hits_are_those_of_the_logits():
    one = finalist(1, 0.75)
    chance = 1 / (1 + np.exp(-2.0))
    wanted = np.where(one.hits == 1, -np.log(chance), -np.log(1 - chance))
    np.testing.assert_allclose(one.losses, wanted)


def test_equal_finalists_cannot_be_told_apart_and_unequal_ones_can():
    same = finalists.compare(finalist(1, 0.8, seed=1), finalist(0, 0.8, seed=2))
    assert same["verdict"].startswith("cannot tell trial 1 from the default")
    clear = finalists.compare(finalist(2, 0.9, seed=1), finalist(0, 0.7, seed=2))
    assert clear["verdict"].startswith("trial 2 is better") and clear["losses"]["high"] < 0
    turned = finalists.compare(finalist(0, 0.7, seed=2), finalist(2, 0.9, seed=1))
    assert turned["verdict"].startswith("trial 2 is better")
    assert turned["losses"]["value"] == pytest.approx(-clear["losses"]["value"])


def test_a_single_seed_is_said_to_be_one():
    told = finalists.compare(finalist(1, 0.8, seeds=1), finalist(0, 0.8, seeds=1, seed=5))
    assert "one seed each" in told["verdict"]


def test_intervals_cover_as_often_as_they_say():
    inside = [
        found["low"] <= 0.7 <= found["high"]
        for found in (finalists.interval(finalist(1, 0.7, 1, 200, seed).hits) for seed in range(60))
    ]
    assert 0.85 <= np.mean(inside) <= 1.0


# Many machines


def test_the_environment_says_what_a_process_is(monkeypatch):
    for name in scale_out.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    assert scale_out.role() is None
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker-1")
    with pytest.raises(TlkitError, match="KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT"):
        scale_out.role()
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    assert scale_out.role() == "worker"
    with pytest.raises(TlkitError, match="No chief answers"):
        scale_out.reach_chief(0.0)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    assert scale_out.role() == "chief"


def test_keras_tuner_still_has_what_the_chief_relies_on():
    """None of it is private, but none of it is documented for this use either."""
    tuner = oracles.require()
    oracle = tuner.oracles.RandomSearchOracle(
        objective=tuner.Objective("loss", "min"), hyperparameters=oracles.hyper(LINE)
    )
    assert oracle.ongoing_trials == {} and oracle.tuner_ids == set() and oracle.trials == {}
    source = Path(sys.modules["keras_tuner"].__file__).parent / "src/distribute/oracle_chief.py"
    text = source.read_text()
    for call in ("create_trial(", "get_trial(", "end_trial(", "len(oracle.ongoing_trials) == 0",
                 "len(oracle.tuner_ids) == 0"):  # fmt: skip
        assert call in text
    assert callable(tuner.synchronized)


def chief(model, images, out):
    from tlkit.chief import Patient

    searching = hunt(model, images, out, algorithm="random", trials=5)
    return Patient(searching), searching


def test_a_silent_workers_trial_is_given_out_again(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr(scale_out, "SILENCE", 0.2)
    oracle, searching = chief(model, images, tmp_path)
    with oracles.quiet():
        oracles.require().engine.base_tuner.BaseTuner(
            oracle, directory=str(tmp_path), project_name="chief"
        )
        lost = oracle.create_trial("a")
        kept = oracle.create_trial("b")
        for _ in range(4):  # b asks after its trial, a does not
            time.sleep(0.1)
            oracle.get_trial(kept.trial_id)
        again = oracle.create_trial("c")
        assert again.trial_id == lost.trial_id and kept.trial_id != lost.trial_id
        assert set(oracle.ongoing_trials) == {"b", "c"} and "a" not in oracle.tuner_ids
        for _ in range(2):  # it kills everyone who takes it
            time.sleep(0.3)
            oracle.get_trial(kept.trial_id)
            oracle.expire()
            if "d" not in oracle.heard:
                assert oracle.create_trial("d").trial_id == lost.trial_id
    number = int(lost.trial_id)
    assert searching.study.trials[number].message == "every worker died"


MEMBER = """
import sys
import tests.test_search as here
from tlkit import scale_out, trials
scale_out.SILENCE = 3.0
trials.TRAIN = "tests.fake_trials:slow_quadratic"
images = here.load_images(sys.argv[1])
model = here.Classifier(here.tiny_backbone(), images.class_names)
searching = here.hunt(model, images, sys.argv[2], algorithm="random", trials=6)
with searching.worker:
    print("ready", flush=True)
    (scale_out.lead if scale_out.role() == "chief" else scale_out.work)(searching)
print("over", len(searching.study.finished), flush=True)
"""


@pytest.mark.large
def test_two_workers_on_loopback_and_one_is_killed(photos, tmp_path, home):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    place |= {"TLKIT_HOME": str(home), "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", MEMBER, str(photos), str(tmp_path)]
    load_images(photos)

    def start(name):
        with open(tmp_path / f"{name}.log", "w") as log:
            return subprocess.Popen(
                command, env=os.environ | place | {"KERASTUNER_TUNER_ID": name}, text=True,
                stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip

    members = {"chief": start("chief")}
    members["chief"].stdout.readline()
    members |= {name: start(name) for name in ("one", "two")}
    members["two"].stdout.readline()
    began = time.monotonic()
    while not list(tmp_path.glob("*/trials/*.json")) and time.monotonic() - began < 60:
        time.sleep(0.1)
    members["two"].send_signal(signal.SIGKILL)
    told = {name: members[name].communicate(timeout=120)[0] for name in ("one", "chief")}
    members["two"].communicate()
    assert "over 6" in told["chief"], (tmp_path / "chief.log").read_text()
    assert "over" in told["one"]


KILLED = """
import sys
import tests.test_search as here
from tlkit import trials
trials.TRAIN = "tests.fake_trials:slow_quadratic"
images = here.load_images(sys.argv[1])
model = here.Classifier(here.tiny_backbone(), images.class_names)
here.table(model, images, sys.argv[2], trials=6)
"""


@pytest.mark.large
def test_kill_9_loses_the_trial_that_runs_and_nothing_else(photos, tmp_path, home):
    place = {"TLKIT_HOME": str(home), "PYTHONPATH": str(Path(__file__).parent.parent)}

    def start(out):
        command = [sys.executable, "-c", KILLED, str(photos), str(tmp_path / out)]
        return subprocess.Popen(command, env=os.environ | place)

    assert start("whole").wait(120) == 0
    first = start("killed")
    while len(list(tmp_path.glob("killed/*/trials/*.json"))) < 2:
        time.sleep(0.05)
    first.kill()
    first.wait()
    assert start("killed").wait(120) == 0
    names = ("number", "settings", "status", "loss")
    rows = [
        [[files.read_json(path)[name] for name in names] for path in sorted(found)]
        for found in (tmp_path.glob("whole/*/trials/*.json"), tmp_path.glob("killed/*/trials/*"))
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 6


# The command


def test_the_command_passes_its_options_on_and_tells_the_result(
    found, photos, monkeypatch, tmp_path
):
    from click.testing import CliRunner

    from tlkit.commands.search import search as command

    given = {}

    def searched(model, data, watch, **options):
        given.update(options, model=model)
        watch({"event": "start", "trial": 0, "settings": {}})
        watch({"event": "epoch", "trial": 0, "epoch": 1, "val_loss": 0.5})
        watch({"event": "trial", "trial": 0, "result": found.trials[0]})
        return found

    monkeypatch.setattr(searching, "search", searched)
    done = CliRunner().invoke(
        command, [str(photos), "--backbone", "lenet-5-modern", "--weights", "none", "--size", "32",
                  "--minutes", "3", "--trials", "4", "--out", str(tmp_path)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (given["minutes"], given["trials"], given["out"]) == (3.0, 4, str(tmp_path))
    assert given["origin"]["backbone"] == "lenet-5-modern" and given["origin"]["weights"] is None
    assert given["model"].rule.size == 32
    for words in ("trial   0 done", "winner.py", "Test images", "left"):
        assert words in done.output
    assert found.verdict[1:] in done.output


def test_the_live_table_shows_the_best_and_the_time_left(found):
    from rich.console import Console

    from tlkit.commands.search import Table

    table = Table(minutes=10.0)
    for trial in found.trials:
        table.watch({"event": "start", "trial": trial.number, "settings": trial.settings})
        table.rows.append(trial)
    table.best = found.trials[1]
    table.watch({"event": "epoch", "trial": 2, "epoch": 3, "val_loss": 0.25})
    console = Console(width=160, record=True, file=open(os.devnull, "w"))
    console.print(table.render())
    console.file.close()
    text = console.export_text()
    assert "trial 2: epoch 3" in text and "left" in text and "head_rate" in text
    assert f"best {found.trials[1].loss:.4f}, trial 1" in text


# The control


def test_the_control_says_who_won_and_who_did_not():
    from benchmarks import search_control

    entries = {
        "search": finalist(1, 0.9, seed=1), "random search": finalist(2, 0.9, seed=2),
        "default": finalist(0, 0.7, seed=3),
    }  # fmt: skip
    told = search_control._compare(entries)["comparisons"]
    assert told["search against default"]["result"] == "search is better"
    assert told["search against random search"]["result"].startswith("cannot tell")
    assert told["search against default"]["accuracy"]["low"] > 0
