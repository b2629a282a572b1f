"""MobileNetV2 and ResNet-50 in plain PyTorch, each split into a lower part and a tail.

Layers are the papers' (Sandler et al. 2018, Table 2; He et al. 2016, Table 1), so the arithmetic is
that of the Keras nets, but for the biases that Keras's ResNet50 has in front of BatchNorm.
"""

import torch
from torch import nn

# expansion, channels, repeats, stride of the first
MOBILENET_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
# width, repeats, stride of the first
RESNET50 = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


def convolution(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1):
    """Returns convolution and BatchNorm."""
    padding = kernel // 2
    return (
        nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
    )


class Residual(nn.Module):
    """A branch added to what comes in, or to a projection of it."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None, last: nn.Module):
        super().__init__()
        self.branch, self.shortcut, self.last = branch, shortcut, last

    def forward(self, x):
        short = x if self.shortcut is None else self.shortcut(x)
        return self.last(self.branch(x) + short)


def inverted(inside: int, expansion: int, outside: int, stride: int) -> nn.Module:
    """Returns one block of MobileNetV2."""
    wide = inside * expansion
    expand = [*convolution(inside, wide, 1), nn.ReLU6(True)] if expansion > 1 else []
    depthwise = [*convolution(wide, wide, 3, stride, groups=wide), nn.ReLU6(True)]
    branch = nn.Sequential(*expand, *depthwise, *convolution(wide, outside, 1))
    if stride == 1 and inside == outside:
        return Residual(branch, None, nn.Identity())
    return branch


def bottleneck(inside: int, width: int, stride: int) -> nn.Module:
    """Returns one block of ResNet-50; the stride is in the first convolution, as in Keras."""
    branch = nn.Sequential(
        *convolution(inside, width, 1, stride), nn.ReLU(True),
        *convolution(width, width, 3), nn.ReLU(True),
        *convolution(width, 4 * width, 1),
    )  # fmt: skip
    project = stride > 1 or inside != 4 * width
    shortcut = nn.Sequential(*convolution(inside, 4 * width, 1, stride)) if project else None
    return Residual(branch, shortcut, nn.ReLU(True))


def mobilenet_v2() -> tuple[nn.Module, nn.Module, int]:
    """Returns (lower part, tail from the first block with 160 channels, feature channels)."""
    blocks: list[nn.Module] = [nn.Sequential(*convolution(3, 32, 3, 2), nn.ReLU6(True))]
    inside, cut = 32, 0
    for expansion, channels, repeats, stride in MOBILENET_V2:
        cut = len(blocks) if channels == 160 else cut
        for number in range(repeats):
            blocks.append(inverted(inside, expansion, channels, stride if number == 0 else 1))
            inside = channels
    blocks.append(nn.Sequential(*convolution(inside, 1280, 1), nn.ReLU6(True)))
    return nn.Sequential(*blocks[:cut]), nn.Sequential(*blocks[cut:]), 1280


def resnet50() -> tuple[nn.Module, nn.Module, int]:
    """Returns (lower part, the last group, feature channels)."""
    stem = (*convolution(3, 64, 7, 2), nn.ReLU(True), nn.MaxPool2d(3, 2, 1))
    groups: list[nn.Module] = [nn.Sequential(*stem)]
    inside = 64
    for width, repeats, stride in RESNET50:
        blocks = []
        for number in range(repeats):
            blocks.append(bottleneck(inside, width, stride if number == 0 else 1))
            inside = 4 * width
        groups.append(nn.Sequential(*blocks))
    return nn.Sequential(*groups[:-1]), groups[-1], inside


NETS = {"mobilenet_v2": mobilenet_v2, "resnet50": resnet50}


class Classifier(nn.Module):
    """Lower part, tail, pooling, dropout and a linear layer; pixels 0..255 come in."""

    def __init__(self, backbone: str, classes: int, dropout: float = 0.2):
        super().__init__()
        self.lower, self.tail, channels = NETS[backbone]()
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, classes))

    def forward(self, pixels):
        x = self.lower(pixels / 127.5 - 1)
        return self.head(self.tail(x).mean((2, 3)))

    def freeze(self, tail_open: bool) -> list[nn.Parameter]:
        """Opens the head, and the tail if asked for; returns what trains."""
        self.lower.requires_grad_(False)
        self.tail.requires_grad_(tail_open)
        return [p for p in self.parameters() if p.requires_grad]

    def train(self, mode: bool = True):
        """Sets the mode; BatchNorm statistics never move, as in the fair Keras peer."""
        super().train(mode)
        self.lower.eval()
        self.tail.eval()
        return self


def channels_last(model: nn.Module) -> nn.Module:
    """Returns the model in the memory format that is fast on CPUs."""
    return model.to(memory_format=torch.channels_last)
