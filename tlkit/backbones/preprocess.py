"""Raw pixels to what a backbone expects, as one layer that is saved inside the model.

Every rule is affine per channel, so a kind is a row of constants:
`(pixels / divide - mean) / std`, for "caffe" after turning RGB into BGR.
"""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from tlkit.errors import TlkitError, unknown


@dataclass(frozen=True)
class Kind:
    """Constants of one convention, in the channel order the network sees."""

    divide: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bgr: bool = False


KINDS = {
    #                 divide  mean                        std
    "none":  Kind(),
    "unit":  Kind(    255.0),
    "tf":    Kind(    127.5,  (1.0, 1.0, 1.0)),
    # EfficientNetV2 S, M and L were trained on x / 128 - 1, so white is 0.992 there, not 1.
    "tf128": Kind(    128.0,  (1.0, 1.0, 1.0)),
    "torch": Kind(    255.0,  (0.485, 0.456, 0.406),      (0.229, 0.224, 0.225)),
    "caffe": Kind(      1.0,  (103.939, 116.779, 123.68), bgr=True),
}  # fmt: skip


@keras.saving.register_keras_serializable("tlkit")
class Preprocess(keras.layers.Layer):
    """Maps RGB pixels 0..255, `(batch, height, width, channels)`, to a backbone's input.

    One channel with `planes=3` is a gray picture: it is copied to three channels, each with its
    own constants, so a pretrained net answers exactly as for the same picture stored as RGB. (No
    one-channel stem can do that when the three means differ: at the border, where the net pads
    with zeros, the missing offsets would show.) In all other cases the channels stay as they are:
    with three or more, the first three are RGB and further ones take the average constants; with
    one or two, all take the average constants.

    Args:
        kind: A key of `KINDS`.
        planes: Number of channels the network sees; that of the input if None.
    """

    def __init__(self, kind: str, planes: int | None = None, **kwargs: Any):
        # Half precision starts after this layer: bfloat16 would keep only eight bits of a pixel.
        super().__init__(autocast=False, **kwargs)
        if kind not in KINDS:
            raise unknown("preprocessing", kind, KINDS)
        self.kind, self.planes = kind, planes

    def build(self, input_shape: tuple) -> None:
        channels = input_shape[-1]
        if self.planes not in (None, channels) and (channels, self.planes) != (1, 3):
            raise TlkitError(
                f"The network takes {self.planes} channels but the pictures have {channels}. "
                "Load the backbone with the pictures' number of channels."
            )

    def call(self, pixels):
        row = KINDS[self.kind]
        x = ops.cast(pixels, "float32")
        if self.planes == 3 and x.shape[-1] == 1:
            x = ops.repeat(x, 3, axis=-1)
        if row.bgr and x.shape[-1] >= 3:
            x = ops.concatenate([ops.flip(x[..., :3], axis=-1), x[..., 3:]], axis=-1)
        mean, std = (
            ops.convert_to_tensor(constants(values, x.shape[-1]), "float32")
            for values in (row.mean, row.std)
        )
        return ops.cast((x / row.divide - mean) / std, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.planes or input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind, "planes": self.planes}


def constants(values: tuple[float, float, float], channels: int) -> list[float]:
    """Returns one constant per channel: RGB's own for the first three, their average elsewhere."""
    average = sum(values) / 3
    if channels < 3:
        return [average] * channels
    return [*values, *[average] * (channels - 3)]
