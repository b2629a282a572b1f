"""A search on many machines: a chief that outlives its workers, and itself."""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests import searches
from tests.conftest import tiny_backbone
from tests.searches import LINE, Clock, Script, ended, hunt
from tlkit import oracles, scale_out
from tlkit.errors import TlkitError
from tlkit.model import Classifier
from tlkit.oracles import Past, propose
from tlkit.study import Trial

NAME, IP, PORT = scale_out.ENVIRONMENT


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def images(photos, home):
    return searches.read(photos, home)


@pytest.fixture(scope="module")
def model(images):
    return Classifier(tiny_backbone(), images.class_names)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def loopback(monkeypatch):
    """A free port of this machine, where a chief may listen."""
    monkeypatch.setenv(NAME, "chief")
    monkeypatch.setenv(IP, "127.0.0.1")
    monkeypatch.setenv(PORT, str(free_port()))


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
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    assert scale_out.role() == "chief"


def test_a_worker_waits_a_minute_for_its_chief(loopback):
    clock = Clock(7.0)

    def sleep(seconds):
        clock.now += seconds

    with pytest.raises(TlkitError, match="No chief answers at 127"):
        scale_out.reach_chief(clock=clock, sleep=sleep)
    assert 67 < clock.now <= 68
    with socket.create_server(("127.0.0.1", int(os.environ[PORT]))):
        scale_out.reach_chief(clock=clock, sleep=sleep)


def test_hyperband_is_refused(model, images, tmp_path, loopback):
    with pytest.raises(TlkitError, match="Hyperband needs its trials in order"):
        scale_out.lead(hunt(model, images, tmp_path, algorithm="hyperband"))


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


# The chief by itself


@pytest.fixture
def quiet():
    with oracles.quiet():
        yield


def chief(searching, folder, clock=None):
    """Returns the oracle of a chief, with a folder as keras-tuner's loop would give it."""
    from tlkit.chief import Patient

    oracle = Patient(searching, clock=clock or Clock())
    tuner = oracles.require().engine.base_tuner
    tuner.BaseTuner(oracle, directory=str(folder), project_name="chief")
    return oracle


def settings(trial):
    return oracles.settings(LINE, trial.hyperparameters.values)


def end(oracle, trial, score):
    oracle.update_trial(trial.trial_id, {oracles.OBJECTIVE: score})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def test_a_silent_workers_trial_is_given_out_again_twice(model, images, tmp_path, quiet):
    clock = Clock()
    searching = hunt(model, images, tmp_path, algorithm="random", trials=5)
    oracle = chief(searching, tmp_path / "chief", clock)
    lost, kept = oracle.create_trial("a"), oracle.create_trial("b")
    for name in ("c", "d"):
        clock.now += 119  # two minutes of silence are allowed
        oracle.get_trial(kept.trial_id)
        oracle.expire()
        assert lost.trial_id in {trial.trial_id for trial in oracle.ongoing_trials.values()}
        clock.now += 2
        again = oracle.create_trial(name)
        assert again.trial_id == lost.trial_id and settings(again) == settings(lost)
        assert set(oracle.ongoing_trials) == {"b", name} == oracle.tuner_ids
    clock.now += 119
    oracle.get_trial(kept.trial_id)
    clock.now += 2
    oracle.expire()
    assert set(oracle.ongoing_trials) == {"b"}
    number = int(lost.trial_id)
    assert searching.study.trials[number].message == "every worker died"
    assert searching.study.trials[number].status == "failed"
    assert oracle.create_trial("e").trial_id not in (lost.trial_id, kept.trial_id)


def test_a_worker_that_idles_is_forgotten_after_two_minutes(model, images, tmp_path, quiet):
    clock = Clock()
    oracle = chief(hunt(model, images, tmp_path, trials=1), tmp_path / "chief", clock)
    oracle.create_trial("busy")
    assert oracle.create_trial("idle").status == "IDLE"
    clock.now += 119
    oracle.get_trial("0000")
    oracle.expire()
    assert oracle.tuner_ids == {"busy", "idle"}
    clock.now += 2
    oracle.expire()
    assert oracle.tuner_ids == {"busy"}


def test_after_twenty_minutes_without_a_word_there_is_no_worker(model, images, tmp_path, quiet):
    clock = Clock()
    oracle = chief(hunt(model, images, tmp_path, trials=3), tmp_path / "chief", clock)
    clock.now += 20 * 60
    assert not oracle.alone()
    clock.now += 1
    assert oracle.alone()
    oracle.create_trial("late")
    assert not oracle.alone()
    clock.now += 20 * 60 + 1
    assert oracle.alone()


def test_the_chief_is_told_every_loss(model, images, tmp_path, quiet):
    searching = hunt(model, images, tmp_path, algorithm="bayesian", seed=4, trials=9)
    losses = [0.9, 0.5, 5.0, 0.3, 0.7, 0.45, 0.8]
    oracle = chief(searching, tmp_path / "chief")
    past = []
    for number, loss in enumerate(losses):
        trial = oracle.create_trial("one")
        assert trial.trial_id == f"{number:04d}"
        done = Trial(number, settings(trial), loss=loss)
        searching.study.add(done)  # as its worker does, before it says so
        end(oracle, trial, math.log(loss))
        past.append(Past(done.settings, math.log(min(loss, math.log(3)))))
    assert past[0].settings == LINE.default
    out = oracle.create_trial("one")
    assert settings(out) == propose("bayesian", LINE, past, 4).settings
    assert settings(out) != propose("bayesian", LINE, [Past(p.settings, None) for p in past], 4)[0]
    second = settings(oracle.create_trial("two"))  # while the first is out, it counts as failed
    past.append(Past(settings(out), None))
    assert second == propose("bayesian", LINE, past, 4).settings
    assert oracle.create_trial("three").status == "IDLE"  # nine trials are out or done


def test_the_chief_stops_at_the_number_and_at_the_time(model, images, tmp_path, quiet):
    searching = hunt(model, images, tmp_path, trials=1)
    oracle = chief(searching, tmp_path / "chief")
    end(oracle, oracle.create_trial("one"), 0.5)
    assert oracle.create_trial("one").status == "STOPPED"
    clock = Clock()
    timed = hunt(model, images, tmp_path / "timed", clock=clock, minutes=10)
    oracle = chief(timed, tmp_path / "second")
    clock.now += 301
    assert oracle.create_trial("one").status == "STOPPED"


def test_a_chief_that_died_goes_on_with_its_finished_trials(model, images, tmp_path, quiet):
    losses = [0.9, 0.5, None, 0.3]
    ended(hunt(model, images, tmp_path, algorithm="random"), losses)
    searching = hunt(model, images, tmp_path, algorithm="random", trials=6)
    oracle = chief(searching, tmp_path / "chief")
    first, second = oracle.create_trial("one"), oracle.create_trial("two")
    assert [first.trial_id, second.trial_id] == ["0004", "0005"]
    done = searching.study.finished
    past = [Past(trial.settings, loss and math.log(loss)) for trial, loss in zip(done, losses)]  # noqa: B905
    assert settings(first) == propose("random", LINE, past, 0).settings
    assert oracle.create_trial("three").status == "IDLE"
    for trial in (first, second):
        end(oracle, trial, 0.4)
    assert oracle.create_trial("one").status == "STOPPED"


def test_a_loss_of_an_earlier_chief_is_not_taken_for_that_of_other_settings(
    model, images, tmp_path, quiet
):
    searching = hunt(model, images, tmp_path, algorithm="bayesian", trials=20)
    ended(searching, [0.9, 0.5, 0.8, 0.3, 0.4, 0.6, 0.7])
    other = {"unfreeze": "none", "head_rate": 0.05}
    searching.study.add(Trial(8, other, loss=1e-6))  # 7 was out when the chief died
    oracle = chief(searching, tmp_path / "chief")
    seventh, eighth = oracle.create_trial("one"), oracle.create_trial("two")
    assert settings(eighth) != other
    past = [Past(t.settings, searching.score(t)) for t in searching.study.finished]
    past += [Past(settings(seventh), None), Past(settings(eighth), None)]
    third = oracle.create_trial("three")
    assert settings(third) == propose("bayesian", LINE, past, 0).settings


# Chief and worker in one process


def answers():
    try:
        socket.create_connection((os.environ[IP], int(os.environ[PORT])), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_worker_runs_what_a_chief_hands_out(model, images, tmp_path, loopback, monkeypatch):
    losses = iter([0.9, None, 0.4])

    def play(job):
        loss = next(losses)
        return {"loss": loss, "status": "done" if loss else "failed"}

    options = {"algorithm": "random", "trials": 3, "seed": 6}
    leading = hunt(model, images, tmp_path, **options)
    running = hunt(model, images, tmp_path, Script(play), **options)
    thread = threading.Thread(target=scale_out.lead, args=(leading,))
    thread.start()
    while not answers() and thread.is_alive():
        time.sleep(0.02)
    monkeypatch.setenv(NAME, "worker-1")
    scale_out.work(running)
    thread.join(10)
    assert not thread.is_alive()
    assert [trial.loss for trial in leading.study.finished] == [0.9, None, 0.4]
    past = []
    for trial in leading.study.finished:
        wanted = propose("random", LINE, past, 6).settings
        assert trial.settings == wanted == running.study.trials[trial.number].settings
        past.append(Past(trial.settings, leading.score(trial)))
    assert [job["seed"] for job in running.worker.jobs] == [6, 6, 6]


def test_a_worker_asks_after_its_trial_while_it_trains():
    asked = threading.Event()

    class Client:
        def get_trial(self, trial_id):
            assert trial_id == "0007"
            asked.set()
            raise ConnectionError("the next beat will tell")

    with scale_out.heartbeat(Client(), "0007", 0.001):
        assert asked.wait(10)
        asked.clear()
        assert asked.wait(10)


def test_without_workers_the_chief_goes_on_with_the_trials_there_are(
    model, images, tmp_path, loopback, capsys
):
    searching = hunt(model, images, tmp_path)
    ended(searching, [0.9, 0.5])
    scale_out.lead(searching, silence=0.01)
    assert "going on with the trials there are" in capsys.readouterr().err
    assert len(searching.study.finished) == 2


MEMBER = """
import sys
from pathlib import Path
import tests.test_scale_out as here
from tests import fake_trials
from tlkit import scale_out
from tlkit.workers import Worker
images = here.searches.read(Path(sys.argv[1]), Path(sys.argv[2]))
model = here.Classifier(here.tiny_backbone(), images.class_names)
with Worker(sys.argv[3] + "/work", task=fake_trials.slow_quadratic) as worker:
    searching = here.hunt(model, images, sys.argv[3], worker, algorithm="random", trials=6)
    print("ready", flush=True)
    (scale_out.lead if scale_out.role() == "chief" else scale_out.work)(searching, silence=3.0)
print("over", len(searching.study.finished), flush=True)
"""


@pytest.mark.large
def test_two_workers_on_loopback_and_one_is_killed(photos, tmp_path, home):
    place = {IP: "127.0.0.1", PORT: str(free_port())}
    place |= {"TLKIT_HOME": str(home), "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", MEMBER, str(photos), str(home), str(tmp_path)]
    searches.read(photos, home)

    def start(name):
        with open(tmp_path / f"{name}.log", "w") as log:
            return subprocess.Popen(
                command, env=os.environ | place | {NAME: name}, text=True,
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
