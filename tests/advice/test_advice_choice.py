"""What the adviser makes of what was measured: probes are played, so every number is known."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from tests.advice.test_advice_text import candidate
from tests.conftest import UNSORTED
from tlkit.advice import advise as advising
from tlkit.advice import candidates, image_kind, rules
from tlkit.errors import TlkitError
from tlkit.evaluation import more_images
from tlkit.features.store import Store
from tlkit.images.dataset import load_images
from tlkit.models.classifier import Classifier
from tlkit.phases import phase as phases
from tlkit.planning import estimate as planner
from tlkit.planning.estimate import Estimate, PhaseCost

NETS = ("lenet-caffe", "lenet-1")
COST = Estimate((PhaseCost("head", 10, 0, 2, 1.0, 40, 10),), 1e9, 2.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A weights file for each of two nets: with one they count as pretrained."""
    found = {}
    for name in NETS:
        found[name] = str(tmp_path_factory.mktemp("weights") / f"{name}.weights.h5")
        Classifier(name, UNSORTED, weights=None, size=32).backbone.net.save_weights(found[name])
    return found


@pytest.fixture(scope="module")
def data():
    """Forty noisy pictures of each class; another number judges than validates."""
    pixels = np.random.default_rng(0).integers(0, 256, (120, 12, 12, 3), np.uint8)
    given = pixels, np.repeat(np.arange(3), 40), UNSORTED
    return load_images(given, test_share=0.25, cache=False)


def advised(data, files, nets=NETS[:1], store=None, **options):
    weights = {name: files[name] for name in nets}
    return advising.advise(data, nets, weights=weights, size=32, store=store or Store(), **options)


class Played:
    """Stands for the measuring: each net has the linear probe it is given here."""

    def __init__(self, monkeypatch, **tops):
        self.tops = tops
        self.measured, self.estimated, self.curves = [], [], []
        monkeypatch.setattr(candidates, "candidate", self.candidate)
        monkeypatch.setattr(planner, "estimate", self.estimate)
        monkeypatch.setattr(more_images, "learning_curve", self.curve)

    def candidate(self, model, looked, store, every=True):
        self.measured.append((model, looked, store, every))
        name = model.backbone.name
        right = np.arange(len(looked.images)) < self.tops[name] * len(looked.images)
        made = candidate(name + " by itself", self.tops[name], 1000)
        made = dataclasses.replace(made, size=model.rule.size)
        top = dataclasses.replace(made.stages["high"], correct=right)
        far = dataclasses.replace(made.domain, gain=0.2, sure=False)
        made = dataclasses.replace(made, stages=made.stages | {"high": top}, domain=far)
        rows = {"low": np.zeros((3, 1)), "high": np.full((3, 1), self.tops[name])}
        return made, SimpleNamespace(stages=rows)

    def estimate(self, model, data, plan, **options):
        self.estimated.append((model, data, plan, options))
        return COST

    def curve(self, features, labels, clusters):
        self.curves.append((features, labels, clusters))
        return SimpleNamespace(summary=lambda: "more images\nwould help")


@pytest.fixture
def played(monkeypatch):
    return Played(monkeypatch, **{"lenet-caffe": 0.6, "lenet-1": 0.9})


def test_the_best_one_is_advised_whichever_is_measured_first(data, played, files):
    store = Store()
    for order in (NETS, NETS[::-1]):
        found = advised(data, files, order, store)
        assert [one.name for one in found.candidates] == ["lenet-1", "lenet-caffe"]
        model, seen, plan, options = played.estimated[-1]
        assert model.backbone.name == "lenet-1" and model.class_names == UNSORTED
        assert seen is data and plan == found.plan.phases and options == {"store": store}
        features, labels, clusters = played.curves[-1]
        assert features[0, 0] == 0.9, "the curve is drawn for the last stage of the best one"
        np.testing.assert_array_equal(labels, data.train.labels)
        np.testing.assert_array_equal(clusters, played.measured[-1][1].clusters)
        assert found.recipe["backbone"] == "lenet-1" and found.recipe["weights"] == files["lenet-1"]
    assert found.cost is COST and found.notes == ("more images", "would help")
    assert found.recipe["size"] == 32 and found.recipe["phases"] == found.plan.phases
    assert found.recipe_notes["backbone"].startswith("linear probe 90.0 (")
    assert {model.rule.size for model, *_ in played.measured} == {32}
    assert all(of[2] is store and of[3] for of in played.measured)


def test_the_facts_are_those_of_the_best_one_and_of_these_images(data, played, files):
    found = advised(data, files, NETS)
    facts = found.facts
    assert (facts.images, facts.classes, facts.probed) == (len(data.train), 3, len(data.train))
    assert facts.tested == len(data.test) != len(data.val)
    assert (facts.accuracy, facts.domain, facts.best_stage) == (0.9, "unclear", "high")
    assert facts.distance == pytest.approx(0.45)
    assert facts.gain == 0, "a gain that is not sure is none"
    assert facts.pretrained and facts.stages == played.estimated[0][0].stages
    assert facts.policy == found.kind.policy and found.kind.reason in facts.policy_reason
    assert found.plan == rules.plan(facts) and found.seen == len(data.train)
    assert found.accuracy == rules.accuracy_range(facts, found.plan.depth)


def test_a_sure_gain_counts(data, played, files, monkeypatch):
    plain = played.candidate

    def sure(*given, **options):
        made, features = plain(*given, **options)
        return dataclasses.replace(
            made, domain=dataclasses.replace(made.domain, sure=True, word="different")
        ), features

    monkeypatch.setattr(candidates, "candidate", sure)
    found = advised(data, files)
    assert found.facts.gain == 0.2 and found.plan.depth == len(found.facts.stages) > 1
    assert found.accuracy == rules.accuracy_range(found.facts, found.plan.depth)


def test_without_a_test_split_validation_judges(data, played, files):
    splits = np.where(data.splits == "test", "train", data.splits)
    data = dataclasses.replace(data, splits=splits)
    found = advised(data, files)
    assert found.facts.tested == len(data.val) > 0


def test_no_further_backbone_is_begun_after_the_time(data, played, files):
    found = advised(data, files, NETS, minutes=0)
    assert [model.backbone.name for model, *_ in played.measured] == ["lenet-caffe"]
    assert found.notes[-1] == "lenet-1 was left out: 0 minutes are over"
    assert found.recipe["backbone"] == "lenet-caffe"


def test_a_part_of_many_images_is_looked_at(data, played, files, monkeypatch):
    monkeypatch.setattr(advising, "LIMIT", 30)
    monkeypatch.setattr(advising, "QUICK", 24)
    found = advised(data, files)
    assert found.seen == found.facts.probed == 30 and found.facts.images > 30
    assert not played.curves and found.notes == (), "a curve would speak of twice the sample"
    assert "on 30 training images" in found.recipe_notes["backbone"]
    model = played.measured[0][0]
    advising.quick_advice(model, data, Store())
    (_, looked, _, every) = played.measured[-1]
    assert len(looked.images) == 24 and not every


def test_a_chosen_policy_goes_before_the_suggested_one(data, played, files, capsys):
    found = advised(data, files, policy="flip")
    assert {phase.augment for phase in found.plan.phases} == {"flip"}
    assert found.facts.policy_reason == "as you said"
    plan = advising.quick_advice(played.measured[0][0], data, Store(), policy="flip")
    assert {phase.augment for phase in plan.phases} == {"flip"}
    assert "augmentation flip: as you said" in capsys.readouterr().err


def test_the_pictures_suggest_the_policy(data, played, files, monkeypatch, capsys):
    seen = []

    def guess(rows):
        seen.append(rows)
        return image_kind.Kind("texture", "textures", "all alike")

    monkeypatch.setattr(image_kind, "guess", guess)
    found = advised(data, files)
    assert seen[0].shape == (len(data.train), 32, 32, 3) and seen[0].dtype == np.uint8
    assert found.facts.policy_reason == "the pictures look like texture: all alike"
    assert [phase.augment for phase in found.plan.phases] == ["textures"] * len(found.plan.phases)
    advising.quick_advice(played.measured[0][0], data, Store())
    assert "augmentation textures: the pictures look" in capsys.readouterr().err


def test_weights_that_are_random_are_trained_from_scratch(data, played):
    found = advised(data, {"lenet-caffe": None})
    assert not found.facts.pretrained and found.plan.name == "train from scratch"
    assert found.recipe["weights"] is None
    plan = advising.quick_advice(played.measured[0][0], data, Store(), policy="flip")
    assert plan.phases[0] == dataclasses.replace(phases.from_scratch()[0], augment="flip")
    assert len(played.measured) == 1, "nothing is measured on random weights"


def test_the_options_of_the_data_stand_in_the_recipe(data, played, files):
    options = dict.fromkeys(data.manifest["options"])
    kept = {"test": "held", "val_share": 0.3, "test_share": 0.2, "max_bad": 0.1, "data_dir": "d"}
    options |= kept | {"source": "photos"}
    data = dataclasses.replace(data, manifest=data.manifest | {"options": options, "seed": 9})
    found = advised(data, files)
    assert found.recipe["source"] == "photos"
    assert found.recipe["data"] == kept | {"seed": 9}
    found = advised(dataclasses.replace(data, manifest=data.manifest | {
        "options": options | dict.fromkeys(kept)}), files)  # fmt: skip
    assert list(found.recipe["data"]) == ["seed"]


def test_too_few_images_for_a_curve_are_no_error(data, played, files, monkeypatch):
    def few(*_):
        raise TlkitError("too few for a learning curve")

    monkeypatch.setattr(more_images, "learning_curve", few)
    found = advised(data, files)
    assert found.notes == ()
