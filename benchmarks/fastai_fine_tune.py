"""fastai's `fine_tune` on the same folder: head first, then the whole net at lower rates.

It has no frozen lower part in the second phase, so it does more than the others; and it leaves out
the last batch of an epoch where that is not full. Weights are random, so this row is about time
and not about accuracy.
"""

from collections.abc import Callable

import fastai.callback.progress  # adds no_bar to the learner
import fastai.callback.schedule  # noqa: F401  adds fine_tune
import torch
from fastai.vision import augment, data, learner
from torchvision import models

from benchmarks.worker import Clock, Job

NETS = {"mobilenet_v2": models.mobilenet_v2, "resnet50": models.resnet50}
# fastai cuts a net at its pooling layer; torchvision's MobileNetV2 has none, so it is told where.
learner.model_meta.setdefault(
    models.mobilenet_v2, {"cut": -1, "split": learner.default_split, "stats": None}
)


def train(job: Job, clock: Clock) -> Callable[[list[str]], list[str]]:
    """Builds the learner and calls `fine_tune`."""
    torch.manual_seed(job.seed)
    clock.mark("imported")
    batches = data.ImageDataLoaders.from_folder(
        job.photos, train="train", valid="val", seed=job.seed, bs=job.work.batch_size,
        item_tfms=augment.Resize(job.work.size, method="squish"), num_workers=2,
        batch_tfms=[augment.Flip(), augment.Rotate(36, p=1.0)],
    )  # fmt: skip
    model = learner.vision_learner(
        batches, NETS[job.work.backbone], pretrained=False, normalize=False,
        path=job.scratch,
    )  # fmt: skip
    with model.no_bar(), model.no_logging():
        model.fine_tune(job.work.tail_epochs, freeze_epochs=job.work.head_epochs)
    return lambda files: answers(model, batches, files)


def answers(model, batches, files: list[str]) -> list[str]:
    """Returns the class the learner gives to each file."""
    scores, _ = model.get_preds(dl=batches.test_dl(files))
    return [batches.vocab[i] for i in scores.argmax(1).tolist()]
