"""Advice as lines of text: functions of its parts."""

from collections.abc import Iterator, Sequence

from tlkit.advice import rules
from tlkit.advice.candidates import Candidate
from tlkit.advice.rules import TABLE, Facts, Plan
from tlkit.phases import recipe_format


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


def where(facts: Facts, first: Candidate) -> list[str]:
    """Returns the place in the 2x2 table, its evidence and its rule."""
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


def ranking(candidates: Sequence[Candidate]) -> list[str]:
    """Returns backbones in order, ties said to be ties, each with its cost."""
    lines = ["Backbones, by linear probe; in brackets 95 % intervals"]
    for number, one in enumerate(candidates, 1):
        lines.append(f"  {number}. {one.name}: {standing(one)}")
        lines.append(f"     {one.cost}")
    by_logme = sorted(candidates, key=lambda c: -c.top.logme)
    if [c.name for c in by_logme] != [c.name for c in candidates]:
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


def plan_lines(backbone: str, plan: Plan) -> list[str]:
    """Returns the plan, each setting that is not a default with its reason."""
    same = " (the default)" if plan.is_default else ""
    lines = [f"Plan: {backbone}, {plan.name}{same}"]
    for phase in plan.phases:
        lines.append(f"  {phase.name}")
        shown = recipe_format.describe_phase(phase) | {"rate": phase.rate, "augment": phase.augment}
        for field, value in shown.items():
            if field != "name":
                reason = plan.notes.get(f"{phase.name}.{field}", "")
                lines.append(f"    {field} {value}{f': {reason}' if reason else ''}")
    return lines


def expected(
    facts: Facts, accuracy: tuple[float, float, float], minutes: tuple[float, float, float]
) -> list[str]:
    """Returns what to expect, each value with its range: accuracy 0..1, and minutes."""
    value, low, high = (100 * number for number in accuracy)
    middle, least, most = minutes
    return [
        f"Expect {value:.0f} % right ({low:.0f} to {high:.0f}) on {facts.tested:,} images "
        f"not seen, from the probe's {100 * facts.accuracy:.1f} %,",
        f"after about {middle:.1f} minutes ({least:.1f} to {most:.1f}; it stops by itself).",
    ]
