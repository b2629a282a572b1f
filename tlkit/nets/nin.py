"""Network in Network: Lin et al. 2014, section 4.1; sizes of the authors' CIFAR-10 prototxt."""

from tlkit.nets._rows import AvgPool, Conv, Dropout, GlobalAvgPool, MaxPool
from tlkit.nets._spec import Net, Options

# "cccp" is the authors' name for the 1x1 layers of the small net inside.
TABLE = {
    "cifar": (
        ("conv1", Conv(192, 5)), ("cccp1", Conv(160, 1)), ("cccp2", Conv(96, 1)),
        ("pool1", MaxPool(3, 2, ceil=True)), ("drop1", Dropout(0.5)),
        ("conv2", Conv(192, 5)), ("cccp3", Conv(192, 1)), ("cccp4", Conv(192, 1)),
        ("pool2", AvgPool(3, 2, ceil=True)), ("drop2", Dropout(0.5)),
        ("conv3", Conv(192, 3)), ("cccp5", Conv(192, 1)),
    ),
}  # fmt: skip


def features(variant):
    yield from TABLE[variant]


def top(variant, classes):
    yield "cccp6", Conv(classes, 1, norm=False)
    yield "logits", GlobalAvgPool()


NETS = {
    "nin": Net(
        variant="cifar",
        year=2013,
        source="Lin et al. 2014, section 4.1",
        oracle="hand count from the authors' prototxt",
        params=966_986,
        macs=222_486_528,
        activation_bytes=2_685_480,
        input_shape=(32, 32, 3),
        classes=10,
        options=Options(historic="gauss-0.01"),
        stages=(("block1", "drop1"), ("block2", "drop2"), ("block3", "cccp5_act")),
    )
}
