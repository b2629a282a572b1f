"""Layers that Keras lacks, registered under "tlkit": models with them load with safe_mode=True.

One file for each kind, named after what it does to a feature map; the classic nets are built from
them. Start with `pooling`.
"""

from tlkit.layers.activations import FanInUniform, Maxout, ScaledTanh
from tlkit.layers.ceil import CeilAveragePool2D, CeilMaxPool2D
from tlkit.layers.channels import PadChannels
from tlkit.layers.local import ConstantPadding2D, LocallyConnected2D, UntiedBias
from tlkit.layers.outer import OuterProductConv2D
from tlkit.layers.pooling import TrainableSubsampling2D, WindowPool2D
from tlkit.layers.rbf import DigitDistance
from tlkit.layers.response import LocalResponseNormalization
from tlkit.layers.sparse import SparselyConnectedConv2D
from tlkit.layers.weightnorm import WeightNormalization

__all__ = [
    "CeilAveragePool2D",
    "CeilMaxPool2D",
    "ConstantPadding2D",
    "DigitDistance",
    "FanInUniform",
    "LocalResponseNormalization",
    "LocallyConnected2D",
    "Maxout",
    "OuterProductConv2D",
    "PadChannels",
    "ScaledTanh",
    "SparselyConnectedConv2D",
    "TrainableSubsampling2D",
    "UntiedBias",
    "WeightNormalization",
    "WindowPool2D",
]
