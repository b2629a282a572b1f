"""The same works through tlkit's public interface.

With the option `views` (a number, or "epochs" for a new view in each) everything else is as in the
guide's script: Adam at its rates, no decay, no schedule, flip and rotation, squashed images. With
`defaults`, only the epochs are given and tlkit chooses the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tlkit
import tlkit.backbones.loading
from benchmarks.worker import Clock, Job
from benchmarks.works import TAIL_RATE

PLAIN: dict[str, Any] = {
    "optimizer": "adam", "schedule": "constant", "warmup": 0.0, "decay": 1.0, "weight_decay": 0.0,
    "smoothing": 0.0, "augment": "guide",
}  # fmt: skip
DEFAULT_TAIL_RATE = 1e-4  # of `tlkit.phases.phase.head_then_upper`


def train(job: Job, clock: Clock) -> Callable[[list[str]], list[str]]:
    """Loads, fine-tunes (once for each trial of a search), and keeps the best."""
    data = tlkit.load_images(job.photos, test_share=0.0)
    clock.mark("checked")
    _add_policy_of_the_guide()
    clock.mark("imported")
    rule = tlkit.PixelRule(job.work.size, "crop" if job.options.get("defaults") else "squash")
    backbone = tlkit.backbones.loading.load(
        job.work.backbone, size=rule.size, weights=job.weights or "none", seed=job.seed
    )
    runs = []
    for number, (rate, dropout) in enumerate(job.work.settings, 1):
        head = tlkit.Head("linear", dropout)
        model = tlkit.Classifier(backbone, data.class_names, size=rule, head=head, seed=job.seed)
        plan = phases(job, rate)
        out = f"{job.scratch}/run-{number}"
        store = tlkit.Store.default(job.options.get("engine", "constants"))
        runs.append(tlkit.fine_tune(model, data, plan, out=out, seed=job.seed, store=store))
        clock.mark(f"trial {number}")
    best = max(runs, key=lambda run: max(row["val_accuracy"] for row in run.history))
    clock.notes["views"] = max(min(phase.views, phase.epochs) for phase in plan)
    clock.notes["epoch_seconds"] = [round(row["seconds"], 4) for row in best.history]
    return lambda files: [best.model.class_names[i] for i in best.model.predict(files).argmax(-1)]


def _add_policy_of_the_guide() -> None:
    """RandomFlip("horizontal") and RandomRotation(0.1), a tenth of a full turn either way."""
    _ = tlkit.Classifier  # named as a user would, which is what loads TensorFlow
    from tlkit.augmentation import policies

    policy = policies.Policy(mirror=True, rotate=36.0, assumes="as in the guide")
    policies.POLICIES["guide"] = policy


def phases(job: Job, rate: float) -> tuple[tlkit.Phase, ...]:
    """Returns the phases of one trial; patience is never the reason to stop, as in the peers."""
    plan = [_phase(job, "head", None, job.work.head_epochs, rate)]
    if job.work.tail_epochs:
        slow = DEFAULT_TAIL_RATE if job.options.get("defaults") else TAIL_RATE
        plan.append(_phase(job, "fine-tune", job.work.stage, job.work.tail_epochs, slow))
    return tuple(plan)


def _phase(job: Job, name: str, unfreeze: str | None, epochs: int, rate: float) -> tlkit.Phase:
    fixed = {"epochs": epochs, "patience": epochs, "rate": rate}
    if job.options.get("defaults"):
        return tlkit.Phase(name, unfreeze, **fixed)
    views = epochs if job.options["views"] == "epochs" else int(job.options["views"])
    fixed["arithmetic"] = job.options.get("arithmetic", "float32")
    return tlkit.Phase(
        name, unfreeze, views=views, batch_size=job.work.batch_size, **fixed, **PLAIN
    )
