"""Every window of an image as one more axis: what pooling and local connection share."""

from keras import ops


def windows(x, size: int, stride: int):
    """Returns (n, rows, columns, size * size, channels) from (n, height, width, channels).

    Slices, not a convolution with a unit kernel, so that values come through unchanged.
    """
    parts = [
        x[:, _steps(i, size, stride), _steps(j, size, stride)]
        for i in range(size)
        for j in range(size)
    ]
    return ops.stack(parts, axis=3)


def window_count(length: int | None, size: int, stride: int) -> int | None:
    """Returns how many windows lie wholly inside `length`."""
    return None if length is None else (length - size) // stride + 1


def _steps(start, size, stride):
    # Counted from the far end, so that it also holds where the length is not known yet.
    return slice(start, -(size - 1 - start) or None, stride)
