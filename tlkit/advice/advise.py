"""Measured advice before training: which backbone, how deep, how long, and how sure that is.

One pass of each backbone gives the features of all its stages. Probes on them say where the images
stand in the lectures' 2x2 table, which backbone suits them, and what plan follows.
"""

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.advice import candidates, image_kind, lines, rules
from tlkit.advice.candidates import Candidate
from tlkit.advice.image_kind import Kind
from tlkit.advice.result import Advice
from tlkit.advice.rules import Facts, Plan
from tlkit.augmentation.policies import POLICIES
from tlkit.errors import TlkitError, unknown
from tlkit.evaluation import more_images
from tlkit.features import decoded
from tlkit.features.store import Store
from tlkit.images.dataset import Data
from tlkit.models.classifier import Classifier
from tlkit.planning import estimate
from tlkit.progress import say

LIMIT = 2000  # training images looked at: the interval is then about two points, which is enough
QUICK = 1000


def advise(
    data: Data,
    backbones: Sequence[str] = ("mobilenet_v2",),
    *,
    weights: Mapping[str, str | None] | None = None,
    size: int | None = None,
    minutes: float = 10.0,
    policy: str | None = None,
    store: Store | None = None,
) -> Advice:
    """Measures `backbones` on the training images of `data` and returns a plan with reasons.

    Nothing is trained but linear probes, and neither validation nor test images are looked at.

    Args:
        backbones: Names as `Classifier` takes them.
        weights: A weights file (or None for random values) by backbone; ImageNet's by default.
        size: Pixels along one side; each backbone's own by default.
        minutes: No further backbone is begun after this.
        policy: Augmentation to use instead of the one suggested.
        store: Where pixels and features are kept; a second call is answered from there.

    Raises:
        TlkitError: No backbone, an unknown one, or too few images to probe.
    """
    weights = {name: "imagenet" for name in backbones} | dict(weights or {})
    _check(backbones, weights, policy)
    store = store or Store.default()
    looked = candidates.sample(data, LIMIT)
    found, model, top = _measured(
        data, looked, weights, size=size, seconds=60 * minutes, store=store
    )
    left = [f"{n} was left out: {minutes:g} minutes are over" for n in backbones if n not in found]
    order = candidates.ranked(list(found.values()))
    made = _advice(data, model, order, looked, policy, store)
    recipe, notes = _recipe(data, made, weights[order[0].name])
    told = (*_more_images(top, looked, len(data.train)), *left)
    return dataclasses.replace(made, recipe=recipe, recipe_notes=notes, notes=told)


def quick_advice(
    model: Classifier, data: Data, store: Store | None = None, *, policy: str | None = None
) -> Plan:
    """Returns the plan `fine_tune` should follow for `model` and `data`, and says why.

    It is the default unless what is measured on at most 1,000 training images speaks clearly
    against it; with too few images to measure anything it is the default.

    Args:
        policy: Augmentation to use instead of the one suggested.
    """
    store = store or Store.default()
    if not _pretrained(model):
        say("Advice: train from scratch. The weights are random: there is nothing to keep.")
        return rules.default(model.stages, False, policy)
    try:
        looked = candidates.sample(data, QUICK)
    except TlkitError as error:
        say(f"Advice: the default plan. {error}")
        return rules.default(model.stages, True, policy)
    found, _ = candidates.candidate(model, looked, store, every=False)
    facts = _facts(data, model, found, _kind(model, looked, store), policy)
    plan = rules.plan(facts)
    for line in lines.brief(facts, plan):
        say(line)
    return plan


def _more_images(features, looked, total: int) -> list[str]:
    """Says what more images would bring, where all were looked at and there are enough to say."""
    if len(looked.images) < total:
        return []  # the curve would speak of twice the sample, not of twice the images
    try:
        curve = more_images.learning_curve(features, looked.images.labels, looked.clusters)
    except TlkitError:
        return []
    return curve.summary().splitlines()


def _measured(data: Data, looked, weights, *, size: int | None, seconds: float, store: Store):
    """Returns candidates by name, the model of the best, and its features where a head looks.

    None is begun once the seconds are over, but the first.
    """
    ends = time.monotonic() + seconds
    found: dict[str, Candidate] = {}
    kept: tuple[Any, Any] = (None, None)  # one model is held, not all
    for name, file in weights.items():
        if found and time.monotonic() > ends:
            break
        model = Classifier(name, data.class_names, weights=file, size=size)
        one, seen = candidates.candidate(model, looked, store)
        found[name] = dataclasses.replace(one, name=name)
        if candidates.ranked(list(found.values()))[0].name == name:
            kept = model, list(seen.stages.values())[-1]
    return found, *kept


def _check(backbones, weights, policy) -> None:
    if not backbones:
        raise TlkitError("Name at least one backbone; `tlkit backbones` lists them.")
    if policy is not None and policy not in POLICIES:
        raise unknown("augmentation policy", policy, POLICIES)
    for name in weights.keys() - set(backbones):
        raise unknown("backbone with weights", name, backbones)


def _advice(data, model, order, looked, policy, store) -> Advice:
    kind = _kind(model, looked, store)
    facts = _facts(data, model, order[0], kind, policy)
    plan = rules.plan(facts)
    expected = rules.accuracy_range(facts, plan.depth)
    cost = estimate.estimate(model, data, plan.phases, store=store)
    return Advice(order, facts, plan, expected, cost, kind, len(looked.images), {}, {})


def _facts(data, model, found: Candidate, kind: Kind, policy) -> Facts:
    far = found.domain
    chosen, reason = kind.policy, f"the pictures look like {kind.name}: {kind.reason}"
    if policy is not None:
        chosen, reason = policy, "as you said"
    return Facts(
        images=len(data.train),
        classes=len(data.class_names),
        domain=far.word,
        gain=far.gain if far.sure else 0.0,
        distance=far.distance,
        accuracy=found.top.linear.value,
        probed=len(found.top.correct),
        tested=len(data.test) or len(data.val),
        stages=model.stages,
        best_stage=far.best_stage,
        policy=chosen,
        policy_reason=reason,
        pretrained=_pretrained(model),
    )


def _pretrained(model: Classifier) -> bool:
    return not model.backbone.weights.startswith("random")


def _kind(model, looked, store) -> Kind:
    pixels = decoded.pixel_rows(store, looked.images, model.rule)
    return image_kind.guess(pixels)


def _recipe(data: Data, made: Advice, weights) -> tuple[dict[str, Any], dict[str, str]]:
    first, options = made.candidates[0], data.manifest["options"]
    kept = ("test", "val_share", "test_share", "max_bad", "data_dir")
    given = {name: options[name] for name in kept if options[name] is not None}
    recipe = {
        "source": options["source"],
        "data": given | {"seed": data.manifest["seed"]},
        "backbone": first.name,
        "weights": None if weights is None else os.fspath(weights),
        "size": first.size,
        "phases": made.plan.phases,
    }
    notes = {
        "backbone": f"linear probe {first.top.linear} on {made.seen:,} training images",
        "size": "what its features were measured at",
        **made.plan.notes,
    }
    return recipe, notes
