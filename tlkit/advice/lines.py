"""Advice as lines of text, and as plain numbers for JSON."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tlkit.advice import rules
from tlkit.advice.candidates import Candidate
from tlkit.advice.rules import TABLE, Facts, Plan
from tlkit.phases import recipe_format

if TYPE_CHECKING:
    from tlkit.advice.result import Advice


def text(advice: "Advice") -> str:
    """Returns all that was measured and what follows."""
    lines = [*where(advice), ""]
    for one in advice.candidates:
        lines += [*stage_table(one, advice.seen), ""]
    lines += [*ranking(advice), "", *plan_lines(advice), "", *expected(advice), *advice.notes]
    return "\n".join(lines)


def brief(facts: Facts, plan: Plan) -> Iterator[str]:
    """Yields what `fine_tune` says before it follows a plan: what, and why."""
    data, far = facts.cell
    yield (
        f"Advice: {plan.name}. {facts.images:,} images in {facts.classes} classes ({data} data), "
        f"domain {facts.domain}, linear probe {100 * facts.accuracy:.1f} %. "
        f"The lectures' rule: {TABLE[data, far]}."
    )
    for place, reason in plan.notes.items():
        if place.endswith((".unfreeze", ".batch_norm")) or plan.name == "head only":
            yield f"  {place}: {reason}"
    if plan.phases[0].augment != "photos":
        yield f"  augmentation {plan.phases[0].augment}: {facts.policy_reason}"


def where(advice: "Advice") -> list[str]:
    """Returns the place in the 2x2 table, its evidence and its rule."""
    facts, first = advice.facts, advice.candidates[0]
    data, far = facts.cell
    unclear = " (unclear, read as similar)" if facts.domain == "unclear" else ""
    return [
        f"Where you are: {data} data, {far} domain{unclear}",
        f"  {facts.images:,} training images, {facts.per_class:.0f} a class; "
        f"from {rules.MUCH} we say much (a convention)",
        *(f"  {reason} ({first.name})" for reason in first.domain.reasons),
        f"  The lectures' rule for this cell: {TABLE[data, far]}.",
    ]


def stage_table(one: Candidate, seen: int) -> list[str]:
    """Returns probes by stage as aligned columns."""
    lines = [
        f"Stages of {one.name} at {one.size} pixels: {seen:,} training images, each judged by "
        "others only",
        f"  {'':<12} {'linear probe, %':<24} {'nearest neighbours, %':<24} LogME",
    ]
    for name, found in one.stages.items():
        lines.append(f"  {name:<12} {found.linear!s:<24} {found.knn!s:<24} {found.logme:+.3f}")
    return lines


def ranking(advice: "Advice") -> list[str]:
    """Returns backbones in order, ties said to be ties, each with its cost."""
    lines = ["Backbones, by linear probe; in brackets 95 % intervals"]
    for number, one in enumerate(advice.candidates, 1):
        lines.append(f"  {number}. {one.name}: {standing(one)}")
        lines.append(f"     {one.cost}")
    by_logme = sorted(advice.candidates, key=lambda c: -c.top.logme)
    if [c.name for c in by_logme] != [c.name for c in advice.candidates]:
        lines.append(f"  LogME would order them {', '.join(c.name for c in by_logme)}.")
    return lines


def standing(one: Candidate) -> str:
    """Returns a candidate's probe and whether the images tell it from the first."""
    own = f"{one.top.linear} %, LogME {one.top.logme:+.3f}"
    if not one.behind:
        return own
    gap = [100 * one.behind[key] for key in ("difference", "low", "high")]
    words = "tied with the first" if one.tied else "behind the first"
    return f"{own}; {words} by {gap[0]:.1f} points ({gap[1]:.1f} to {gap[2]:.1f})"


def plan_lines(advice: "Advice") -> list[str]:
    """Returns the plan, each setting that is not a default with its reason."""
    first, plan = advice.candidates[0], advice.plan
    same = " (the default)" if plan.is_default else ""
    lines = [f"Plan: {first.name}, {plan.name}{same}"]
    for phase in plan.phases:
        lines.append(f"  {phase.name}")
        shown = recipe_format.describe_phase(phase) | {"rate": phase.rate, "augment": phase.augment}
        for field, value in shown.items():
            if field != "name":
                reason = plan.notes.get(f"{phase.name}.{field}", "")
                lines.append(f"    {field} {value}{f': {reason}' if reason else ''}")
    return lines


def expected(advice: "Advice") -> list[str]:
    """Returns what to expect, with ranges."""
    value, low, high = (100 * number for number in advice.accuracy)
    minutes, least, most = advice.minutes
    return [
        f"Expect {value:.0f} % right ({low:.0f} to {high:.0f}) on {advice.facts.tested:,} images "
        f"not seen, from the probe's {100 * advice.facts.accuracy:.1f} %,",
        f"after about {minutes:.1f} minutes ({least:.1f} to {most:.1f}; it stops by itself).",
    ]


def numbers(advice: "Advice") -> dict[str, Any]:
    """Returns everything as plain values."""
    return {
        "facts": dataclasses.asdict(advice.facts),
        "plan": advice.plan.name,
        "phases": [dataclasses.asdict(phase) for phase in advice.plan.phases],
        "accuracy": list(advice.accuracy),
        "minutes": list(advice.minutes),
        "cost": dataclasses.asdict(advice.cost),
        "kind": dataclasses.asdict(advice.kind),
        "seen": advice.seen,
        "candidates": [_candidate(one) for one in advice.candidates],
        "notes": list(advice.notes),
    }


def _candidate(one: Candidate) -> dict[str, Any]:
    return {
        "name": one.name, "weights": one.weights, "size": one.size, "tied": one.tied,
        "behind": dict(one.behind),
        "domain": {**dataclasses.asdict(one.domain), "distance": one.domain.distance},
        "cost": dataclasses.asdict(one.cost),
        "stages": {
            name: {
                "linear": dataclasses.asdict(p.linear), "knn": dataclasses.asdict(p.knn),
                "logme": p.logme,
            }
            for name, p in one.stages.items()
        },
    }  # fmt: skip
