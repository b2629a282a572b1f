"""From measured facts to a plan: pure functions, each line of the plan with its reason.

The 2x2 table of the lectures (little or much data, similar or different domain) says the direction;
what the images show says how far. Where nothing speaks clearly against it the default stays: the
head to convergence, then the last stage, with the best validation loss kept.
"""

import dataclasses
import math
from collections.abc import Mapping

from tlkit.phases import phase as phases
from tlkit.phases.phase import Phase

MUCH = 100  # images a class from which "a lot of data" is said; a convention, no lecture has one
FEW = 10  # images a class below which validation cannot judge a second phase
# Training images from which deeper training has enough to learn from. Two stages against the last,
# points on splits of training folders (the same net): 340 images of CIFAR-10 +2.0 and 0.0, 720
# +0.0 and +3.8; 470 flowers +3.0 and +0.3; 170 flowers +1.5; 60 steel surfaces -1.3. All stages
# were no better than two on flowers, and 0.5 to 1.3 points on CIFAR-10, for twice the time.
MANY = 300
ROOM = 0.10  # share of errors left, below which deeper training has little to win
# Steps a phase has at least: an epoch of 100 images is four steps, and the default's epochs would
# end before the head fits. AdamW moves a weight by at most the rate in each step, and the more
# classes, the further the weights have to go. MobileNetV2 0.35, 216 letters in 24 classes, head
# alone: 31 % right after 280 steps, 38 to 40 after 1,000, 48 after 4,000, 54 at a rate of 0.01; on
# 100 photos of five flowers or two insects no more than one or two test images either way.
STEPS = {"head": 800, "fine-tune": 400}
STEPS_A_CLASS = 150  # of the head
MANY_CLASSES, QUICK_RATE = 20, 1e-2
ENOUGH = 500  # images with which the default's epochs are enough steps
# Where the domain is different, frozen statistics are wrong for these images and keep the network
# from learning, and so do frozen stages. Letters in 24 classes, judged on 96 others (MobileNetV2
# 0.35 at 96 pixels), all stages with BatchNorm trained in 1,000 steps at this rate: 97 % from 216
# letters, 83 % from 96, 73 % from 48, one split each; the head alone reached 47 and 40 % in other
# splits with 96 and 48. The limit on the gradients is what makes it work: the first losses, from
# statistics that do not fit, are ten times the usual, and without it the same plan gave 76 and 43 %
# in the same splits, and 33 % in another with 48. With frozen BatchNorm it was 78 and 81 % from 216
# letters, and training broke down in one of two splits with 96.
FAR_RATE, FAR_STEPS, FAR_CLIP = 1e-3, 1000, 1.0
# (data, domain) -> the lecture's rule. "unclear" is read as "similar", and said to be unclear.
TABLE = {
    ("little", "similar"): "a linear classifier on the top layer",
    ("little", "different"): "trouble: try a linear classifier from different stages",
    ("much", "similar"): "fine-tune a few layers",
    ("much", "different"): "fine-tune a larger number of layers",
}
# Share of the probe's errors that training is expected to remove beyond it, with its standard
# deviation from one data set to the next, by stages trained. Wide, since so few sets were measured.
GAINS = {0: (0.05, 0.15), 1: (0.15, 0.20), 2: (0.25, 0.25), 3: (0.30, 0.30)}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a plan follows from.

    Attributes:
        images: Training images.
        classes: How many.
        domain: A word of `domain.Domain`.
        gain: Points (0..1) the best stage's probe has over the last one's; 0 if not surely any.
        distance: BatchNorm shift, see `domain`.
        accuracy: Linear probe of the last stage, out of fold.
        probed: Images it was measured on.
        tested: Images that will judge the result.
        stages: Of the backbone, in depth order.
        best_stage: The stage whose probe is best.
        policy: Suggested augmentation, and `policy_reason`.
        pretrained: Whether the weights were trained on anything.
    """

    images: int
    classes: int
    domain: str
    gain: float
    distance: float
    accuracy: float
    probed: int
    tested: int
    stages: tuple[str, ...]
    best_stage: str
    policy: str = "photos"
    policy_reason: str = "the default"
    pretrained: bool = True

    @property
    def per_class(self) -> float:
        """Training images a class."""
        return self.images / self.classes

    @property
    def cell(self) -> tuple[str, str]:
        """Where the 2x2 table puts the data."""
        data = "much" if self.per_class >= MUCH else "little"
        return data, "different" if self.domain == "different" else "similar"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Phases, and why.

    Attributes:
        name: "head only", "fine-tune from stage5", "train from scratch", in words.
        phases: To be run by `fine_tune`.
        notes: A reason by `phase name.field`, as `recipe_files.write` takes them.
        depth: Stages that train.
        is_default: Whether it is what `fine_tune` does by itself.
    """

    name: str
    phases: tuple[Phase, ...]
    notes: Mapping[str, str]
    depth: int
    is_default: bool


def plan(facts: Facts) -> Plan:
    """Returns the plan for `facts`."""
    if not facts.pretrained:
        return _scratch(facts)
    depth, why = _depth(facts)
    made = list(phases.head_then_upper(facts.stages))
    notes = {"head.epochs": "early stopping ends it when the validation loss no longer falls"}
    if not depth:
        made, name = made[:1], "head only"
        notes["head.epochs"] = why
    else:
        made[1], name = _upper(facts, made[1], depth), f"fine-tune from {facts.stages[-depth]}"
        notes["fine-tune.unfreeze"] = why
        notes |= _upper_notes(facts, made[1])
    made = [dataclasses.replace(_long(p, facts), augment=facts.policy) for p in made]
    notes |= _step_notes(facts, made[0])
    notes |= {f"{phase.name}.augment": facts.policy_reason for phase in made}
    same = tuple(made) == phases.head_then_upper(facts.stages)
    return Plan(name, tuple(made), notes, depth, same)


def default(stages: tuple[str, ...], pretrained: bool, policy: str | None = None) -> Plan:
    """Returns what `fine_tune` does where nothing could be measured."""
    made = phases.head_then_upper(stages) if pretrained else phases.from_scratch()
    if policy is not None:
        made = tuple(dataclasses.replace(phase, augment=policy) for phase in made)
    depth = 1 if pretrained else len(stages)
    return Plan("the default", made, {}, depth, policy is None)


def accuracy_range(facts: Facts, depth: int) -> tuple[float, float, float]:
    """Returns expected accuracy on the images that will judge, and a 95 % range: 0..1 each.

    The range holds three doubts: how many images were probed, how many will judge, and how much
    training beyond the probe removes of its errors (`GAINS`).
    """
    mean, spread = GAINS[min(depth, max(GAINS))]
    wrong = min(max(1 - facts.accuracy, 0.5 / facts.probed), 1.0)
    # Two right and two wrong added (Agresti and Coull 1998): the plain formula is too sure of few.
    doubted = (wrong * facts.probed + 2) / (facts.probed + 4)
    sampling = doubted * (1 - doubted) * (1 / facts.probed + 1 / max(facts.tested, 1))
    # A proportion near its bound is never known to be there: one more error is always possible.
    floor = (0.5 / max(facts.tested, 1)) ** 2
    deviation = math.sqrt(sampling + floor + (doubted * spread) ** 2)
    middle = 1 - wrong * (1 - mean)
    return middle, max(middle - 1.96 * deviation, 0.0), min(middle + 1.96 * deviation, 1.0)


def _depth(facts: Facts) -> tuple[int, str]:
    """Returns how many stages to train, and the number that says so."""
    count, room = len(facts.stages), 1 - facts.accuracy
    each = f"{facts.per_class:.0f} images a class"
    if facts.domain == "different":
        return _deep(facts, each)
    if facts.per_class < FEW:
        return 0, f"{each}: too few for validation to judge more than a head"
    if facts.images >= MANY and room >= ROOM and count > 2:
        return 2, f"{facts.images:,} images, and the probe still gets {100 * room:.0f} % wrong"
    return 1, f"the default: nothing measured asks for more or less ({each}, {facts.domain} domain)"


def _deep(facts: Facts, each: str) -> tuple[int, str]:
    count = len(facts.stages)
    sign = f"BatchNorm inputs {facts.distance:.2f} deviations from training"
    if facts.gain > 0:
        sign = f"a probe at {facts.best_stage} is {100 * facts.gain:.1f} points better than above"
    return count, f"{sign}: earlier stages must change too ({each})"


def _upper(facts: Facts, phase: Phase, depth: int) -> Phase:
    everything = depth == len(facts.stages)
    made = dataclasses.replace(
        phase,
        unfreeze="all" if everything else facts.stages[-depth],
        epochs=phase.epochs if depth == 1 else 20,
    )
    if facts.domain != "different":
        return made
    return dataclasses.replace(made, batch_norm="train", rate=FAR_RATE, clip=FAR_CLIP)


def _upper_notes(facts: Facts, phase: Phase) -> dict[str, str]:
    if phase.batch_norm != "train":
        return {"fine-tune.rate": "a tenth of the default head's, halved for each stage below"}
    said = f"statistics lie {facts.distance:.2f} deviations from training: learn new ones"
    return {
        "fine-tune.batch_norm": said,
        "fine-tune.rate": "a third of the default head's, since the domain is different",
        "fine-tune.clip": "the first steps, from statistics that do not fit, would be too large",
    }


def _long(phase: Phase, facts: Facts) -> Phase:
    """Returns the phase with epochs enough for its steps, and patience in proportion."""
    steps = FAR_STEPS if phase.batch_norm == "train" else STEPS[phase.name]
    if phase.unfreeze is None:
        steps = max(steps, STEPS_A_CLASS * facts.classes)
    per = -(-facts.images // phase.batch_size)
    if facts.images >= ENOUGH or phase.epochs * per >= steps:
        return phase
    if phase.unfreeze is None and facts.classes >= MANY_CLASSES:
        phase = dataclasses.replace(phase, rate=QUICK_RATE)
    epochs = -(-steps // per)
    return dataclasses.replace(phase, epochs=epochs, patience=max(phase.patience, epochs // 5))


def _step_notes(facts: Facts, head: Phase) -> dict[str, str]:
    usual, per = phases.head_then_upper(facts.stages)[0], -(-facts.images // head.batch_size)
    notes = {}
    if head.epochs > usual.epochs:
        said = f"{facts.images} images make {per} steps an epoch, and the head needs"
        notes["head.epochs"] = f"{said} some {head.epochs * per:,} for {facts.classes} classes"
    if head.rate > usual.rate:
        notes["head.rate"] = f"{facts.classes} classes and few images: its weights have far to go"
    return notes


def _scratch(facts: Facts) -> Plan:
    made = tuple(dataclasses.replace(p, augment=facts.policy) for p in phases.from_scratch())
    notes = {
        "from scratch.unfreeze": "the weights are random: there is nothing to keep",
        "from scratch.augment": facts.policy_reason,
    }
    same = made == phases.from_scratch()
    return Plan("train from scratch", made, notes, len(facts.stages), same)
