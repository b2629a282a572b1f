"""A search on many machines: a chief that outlives its workers, and itself."""

import _thread
import contextlib
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
from tests.searches import LINE, Clock, Script, ended, searcher
from tlkit.errors import TlkitError
from tlkit.models.classifier import Classifier
from tlkit.tuning import distributed
from tlkit.tuning.proposals import Past, propose

NAME, IP, PORT = distributed.ENVIRONMENT


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
    for name in distributed.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    assert distributed.role() is None
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker-1")
    with pytest.raises(TlkitError, match="KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT"):
        distributed.role()
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    assert distributed.role() == "worker"
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    assert distributed.role() == "chief"


def test_a_worker_waits_a_minute_for_its_chief(loopback):
    clock = Clock(7.0)

    def sleep(seconds):
        clock.now += seconds

    with pytest.raises(TlkitError, match="No chief answers at 127"):
        distributed.reach_chief(clock=clock, sleep=sleep)
    assert 67 < clock.now <= 68
    with socket.create_server(("127.0.0.1", int(os.environ[PORT]))):
        distributed.reach_chief(clock=clock, sleep=sleep)


@contextlib.contextmanager
def impatience(seconds=60):
    """Fails the test where its block, a chief that waits, takes longer."""
    timer = threading.Timer(seconds, _thread.interrupt_main)
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        pytest.fail("the chief waits for ever")
    finally:
        timer.cancel()


def test_hyperband_is_refused(model, images, tmp_path, loopback):
    refused = pytest.raises(TlkitError, match="Hyperband needs its trials in order")
    with impatience(), refused:
        distributed.lead(searcher(model, images, tmp_path, algorithm="hyperband"))


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
    leading = searcher(model, images, tmp_path, **options)
    running = searcher(model, images, tmp_path, Script(play), **options)
    thread = threading.Thread(target=distributed.lead, args=(leading,), daemon=True)
    thread.start()
    while not answers() and thread.is_alive():
        time.sleep(0.02)
    monkeypatch.setenv(NAME, "worker-1")
    distributed.work(running)
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

    with distributed.heartbeat(Client(), "0007", 0.001):
        assert asked.wait(10)
        asked.clear()
        assert asked.wait(10)


def test_without_workers_the_chief_goes_on_with_the_trials_there_are(
    model, images, tmp_path, loopback, capsys
):
    searching = searcher(model, images, tmp_path)
    ended(searching, [0.9, 0.5])
    with impatience():
        distributed.lead(searching, silence=0.01)
    assert "going on with the trials there are" in capsys.readouterr().err
    assert len(searching.study.finished) == 2


MEMBER = """
import sys
from pathlib import Path
import tests.tuning.test_scale_out as here
from tests import fake_trials
from tlkit.tuning import distributed
from tlkit.tuning.worker import Worker
images = here.searches.read(Path(sys.argv[1]), Path(sys.argv[2]))
model = here.Classifier(here.tiny_backbone(), images.class_names)
with Worker(sys.argv[3] + "/work", task=fake_trials.slow_quadratic) as worker:
    searching = here.searcher(model, images, sys.argv[3], worker, algorithm="random", trials=6)
    print("ready", flush=True)
    part = distributed.lead if distributed.role() == "chief" else distributed.work
    part(searching, silence=3.0)
print("over", len(searching.study.finished), flush=True)
"""


@pytest.mark.large
def test_two_workers_on_loopback_and_one_is_killed(photos, tmp_path, home):
    place = {IP: "127.0.0.1", PORT: str(free_port())}
    place |= {"TLKIT_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}
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
