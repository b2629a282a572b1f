"""What is known about a net (`Net`) and what may be chosen about it (`Options`): data, no Keras."""

from dataclasses import dataclass, replace

from tlkit.errors import TlkitError, unknown

NORMS = ("none", "batch", "layer", "instance", "group", "weight")
ACTIVATIONS = ("relu", "leaky", "elu", "tanh", "scaled-tanh", "sigmoid", "maxout")
# "zeros" is for counting and for nets about to be loaded: it costs no random numbers.
INITS = ("he", "glorot", "historic", "zeros")
PIXELS = ("tf", "caffe", "torch", "unit", "none")


@dataclass(frozen=True)
class Options:
    """The choices that every row of a net shares. A family states its historic ones as defaults."""

    norm: str = "none"
    activation: str = "relu"  # of every row that does not name its own
    init: str = "he"
    historic: str = "he"  # what init="historic" means for this family; see rows.INITIALIZERS
    epsilon: float = 1e-3  # of the normalization, as are the next two
    momentum: float = 0.99
    scale: bool = True

    def choose(self, norm: str | None, activation: str | None, init: str | None) -> "Options":
        """Returns these options with the given ones in place of the family's own."""
        return replace(
            self,
            norm=_checked("normalization", norm, NORMS) or self.norm,
            activation=_checked("activation", activation, ACTIVATIONS) or self.activation,
            init=_checked("initialisation", init, INITS) or self.init,
        )


@dataclass(frozen=True, kw_only=True)
class Net:
    """One published net. Numbers are the source's, never counted from our own code."""

    variant: str  # the key of the family's TABLE
    year: int
    source: str  # paper and table
    oracle: str  # where the numbers below come from
    params: int | None  # trainable, at `input_shape` and `classes`
    total: int | None = None  # with moving statistics; None: equal to params
    macs: int | None = None  # multiply-adds of convolutions and dense layers, one image
    connections: int | None = None  # as LeCun counts them: multiply-adds and biases
    activation_bytes: int | None = None  # float32; input and layer outputs, see count.activations
    error: str | None = None  # published, with its protocol
    input_shape: tuple[int, int, int] = (224, 224, 3)
    classes: int = 1000
    pixels: str = "torch"  # preprocessing kind that the net expects, one of PIXELS
    options: Options = Options()
    stages: tuple[tuple[str, str], ...] = ()  # (stage, last layer of it), in depth order


def _checked(kind, value, known):
    if value is not None and value not in known:
        raise unknown(kind, value, known)
    return value


def size_error(net: str, row: str, input_shape: tuple, got: list) -> TlkitError:
    """Returns the error for an input that the net cannot take, naming the row that refuses it."""
    return TlkitError(
        f"{net!r} cannot take input {input_shape}: its layer {row!r} cannot work on {got[0]}. "
        "Give a larger input_shape=(height, width, channels), with fixed height and width "
        "where the net has dense layers."
    )
