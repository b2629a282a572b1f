"""All-CNN-C: Springenberg et al. 2015, Table 1 and section 3.1. No pooling, no dense layer."""

from tlkit.nets._rows import Conv, Dropout, GlobalAvgPool
from tlkit.nets._spec import Net

TABLE = {
    "c": (
        ("drop0", Dropout(0.2)),
        ("conv1", Conv(96, 3)),
        ("conv2", Conv(96, 3)),
        ("conv3", Conv(96, 3, stride=2, pad=1)),
        ("drop3", Dropout(0.5)),
        ("conv4", Conv(192, 3)),
        ("conv5", Conv(192, 3)),
        ("conv6", Conv(192, 3, stride=2, pad=1)),
        ("drop6", Dropout(0.5)),
        ("conv7", Conv(192, 3)),
        ("conv8", Conv(192, 1)),
    ),
}


def features(variant):
    yield from TABLE[variant]


def top(variant, classes):
    yield "conv9", Conv(classes, 1, norm=False)  # rectified too, as the table says
    yield "logits", GlobalAvgPool()


NETS = {
    "all-cnn-c": Net(
        variant="c",
        year=2014,
        source="Springenberg et al. 2015, Table 1",
        oracle="hand count from Table 1",
        params=1_369_738,
        macs=281_174_016,
        activation_bytes=1_440_296,
        input_shape=(32, 32, 3),
        classes=10,
        stages=(("block1", "drop3"), ("block2", "drop6"), ("block3", "conv8_act")),
    )
}
