"""A chief outlives its workers and itself: nothing is lost, forgotten or handed out for ever."""

import math
import sys
from pathlib import Path

import pytest

from tests import searches
from tests.conftest import tiny_backbone
from tests.searches import LINE, Clock, ended, searcher
from tlkit.models.classifier import Classifier
from tlkit.tuning import proposals
from tlkit.tuning.proposals import Past, propose
from tlkit.tuning.study import Trial


@pytest.fixture(scope="module")
def images(photos, tmp_path_factory):
    return searches.read(photos, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def model(images):
    return Classifier(tiny_backbone(), images.class_names)


@pytest.fixture
def quiet():
    with proposals.quiet():
        yield


def chief(searching, folder, clock=None):
    """Returns the oracle of a chief, with a folder as keras-tuner's loop would give it."""
    from tlkit.tuning.chief import PatientOracle

    oracle = PatientOracle(searching, clock=clock or Clock())
    tuner = proposals.require().engine.base_tuner
    tuner.BaseTuner(oracle, directory=str(folder), project_name="chief")
    return oracle


def settings(trial):
    return proposals.settings(LINE, trial.hyperparameters.values)


def end(oracle, trial, score):
    oracle.update_trial(trial.trial_id, {proposals.OBJECTIVE: score})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def test_a_silent_workers_trial_is_given_out_again_twice(model, images, tmp_path, quiet):
    clock = Clock()
    searching = searcher(model, images, tmp_path, algorithm="random", trials=5)
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
    oracle = chief(searcher(model, images, tmp_path, trials=1), tmp_path / "chief", clock)
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
    oracle = chief(searcher(model, images, tmp_path, trials=3), tmp_path / "chief", clock)
    clock.now += 20 * 60
    assert not oracle.alone()
    clock.now += 1
    assert oracle.alone()
    oracle.create_trial("late")
    assert not oracle.alone()
    clock.now += 20 * 60 + 1
    assert oracle.alone()


def test_the_chief_is_told_every_loss(model, images, tmp_path, quiet):
    options = {"algorithm": "bayesian", "seed": 4, "trials": 9}
    searching, beside = (searcher(model, images, tmp_path, **options) for _ in range(2))
    losses = [0.9, 0.5, 5.0, 0.3, 0.7, 0.45, 0.8]
    oracle = chief(searching, tmp_path / "chief")
    past = []
    for number, loss in enumerate(losses):
        trial = oracle.create_trial("one")
        assert trial.trial_id == f"{number:04d}"
        done = Trial(number, settings(trial), loss=loss)
        beside.study.add(done)  # as its worker does, before it says so
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
    searching = searcher(model, images, tmp_path, trials=1)
    oracle = chief(searching, tmp_path / "chief")
    end(oracle, oracle.create_trial("one"), 0.5)
    assert oracle.create_trial("one").status == "STOPPED"
    clock = Clock()
    timed = searcher(model, images, tmp_path / "timed", clock=clock, minutes=10)
    oracle = chief(timed, tmp_path / "second")
    clock.now += 301
    assert oracle.create_trial("one").status == "STOPPED"


def test_a_chief_that_died_goes_on_with_its_finished_trials(model, images, tmp_path, quiet):
    losses = [0.9, 0.5, None, 0.3]
    ended(searcher(model, images, tmp_path, algorithm="random", seed=3), losses)
    searching = searcher(model, images, tmp_path, algorithm="random", seed=3, trials=6)
    oracle = chief(searching, tmp_path / "chief")
    first, second = oracle.create_trial("one"), oracle.create_trial("two")
    assert [first.trial_id, second.trial_id] == ["0004", "0005"]
    done = searching.study.finished
    past = [Past(trial.settings, loss and math.log(loss)) for trial, loss in zip(done, losses)]  # noqa: B905
    assert settings(first) == propose("random", LINE, past, 3).settings
    assert oracle.create_trial("three").status == "IDLE"
    for trial in (first, second):
        end(oracle, trial, 0.4)
    assert oracle.create_trial("one").status == "STOPPED"


def test_a_loss_of_an_earlier_chief_is_not_taken_for_that_of_other_settings(
    model, images, tmp_path, quiet
):
    searching = searcher(model, images, tmp_path, algorithm="bayesian", trials=20)
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


def test_keras_tuner_still_has_what_the_chief_relies_on():
    """None of it is private, but none of it is documented for this use either."""
    tuner = proposals.require()
    oracle = tuner.oracles.RandomSearchOracle(
        objective=tuner.Objective("loss", "min"), hyperparameters=proposals.hyper(LINE)
    )
    assert oracle.ongoing_trials == {} and oracle.tuner_ids == set() and oracle.trials == {}
    source = Path(sys.modules["keras_tuner"].__file__).parent / "src/distribute/oracle_chief.py"
    text = source.read_text()
    for call in ("create_trial(", "get_trial(", "end_trial(", "len(oracle.ongoing_trials) == 0",
                 "len(oracle.tuner_ids) == 0"):  # fmt: skip
        assert call in text
    assert callable(tuner.synchronized)
