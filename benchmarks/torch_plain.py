"""The same training in PyTorch: eager, channels_last, files decoded by two DataLoader workers.

Augmentation is flip and rotation, drawn fresh for every image and epoch, on whole batches. Weights
are random, so this row is about time and not about accuracy.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from benchmarks import torch_nets
from benchmarks.worker import Clock, Job, labelled
from benchmarks.works import HEAD_RATE, TAIL_RATE

WORKERS = 2
QUARTER_TURN = math.pi / 2


class Photos(Dataset):
    """Files as uint8 tensors [3, size, size] with the number of their class."""

    def __init__(self, files: list[str], labels: list[int], size: int):
        self.files, self.labels, self.size = files, labels, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int):
        with Image.open(self.files[i]) as image:
            image.draft("RGB", (self.size, self.size))
            small = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(small)).permute(2, 0, 1), self.labels[i]


def train(job: Job, clock: Clock) -> Callable[[list[str]], list[str]]:
    """Trains the head, then head and tail."""
    torch.manual_seed(job.seed)
    clock.mark("imported")
    names = sorted(set(labelled(f"{job.photos}/train")[1]))
    train_set, val_set = (loader(job, part, names) for part in ("train", "val"))
    model = torch_nets.channels_last(torch_nets.Classifier(job.work.backbone, len(names)))
    for tail, epochs in enumerate((job.work.head_epochs, job.work.tail_epochs)):
        optimizer = torch.optim.Adam(model.freeze(bool(tail)), (HEAD_RATE, TAIL_RATE)[tail])
        for _ in range(epochs):
            epoch(model, train_set, optimizer)
            accuracy(model, val_set)
        clock.mark("tail" if tail else "head")
    del train_set, val_set  # ends the workers, so that their time is counted
    return lambda files: answers(model, files, names, job.work.size)


def loader(job: Job, part: str, names: list[str]) -> DataLoader:
    """Returns the batches of one part; workers live through all epochs."""
    files, labels = labelled(f"{job.photos}/{part}")
    photos = Photos(files, [names.index(label) for label in labels], job.work.size)
    return DataLoader(
        photos, job.work.batch_size, shuffle=part == "train", num_workers=WORKERS,
        persistent_workers=True,
    )  # fmt: skip


def augment(pixels):
    """Mirrors half of the images and turns each by up to a tenth of a full turn."""
    count = len(pixels)
    angle = (torch.rand(count) * 2 - 1) * 0.4 * QUARTER_TURN
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(count)
    rows = [torch.stack(row, 1) for row in ((cos * mirror, -sin, zero), (sin * mirror, cos, zero))]
    grid = functional.affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def prepared(pixels):
    """Returns float pixels in the fast memory format."""
    return pixels.float().contiguous(memory_format=torch.channels_last)


def epoch(model, batches, optimizer) -> None:
    """Trains once over all images."""
    model.train()
    for pixels, labels in batches:
        loss = nn.functional.cross_entropy(model(augment(prepared(pixels))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.inference_mode()
def accuracy(model, batches) -> float:
    """Returns the share of images the model gets right."""
    model.eval()
    right = [(model(prepared(x)).argmax(1) == y).float().mean().item() for x, y in batches]
    return float(np.mean(right))


@torch.inference_mode()
def answers(model, files: list[str], names: list[str], size: int) -> list[str]:
    """Returns the class the model gives to each file."""
    model.eval()
    photos = DataLoader(Photos(files, [0] * len(files), size), 32)
    return [names[i] for pixels, _ in photos for i in model(prepared(pixels)).argmax(1).tolist()]
