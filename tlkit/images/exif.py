"""The EXIF orientation of encoded image bytes, as TensorFlow operations.

TensorFlow's decoders ignore orientation, so a SavedModel that is to answer on a phone's photo must
read the tag itself. The tag is found by walking the container (JPEG segments, PNG chunks or RIFF
chunks of WebP) to the TIFF block, then the first image directory of that block. Layouts: CIPA
DC-008 (Exif), ISO 10918-1 (JPEG), W3C PNG 3rd edition, RFC 9649 (WebP).
"""

import functools

import tensorflow as tf

ORIENTATION_TAG = 0x0112
_PADDING = 16
_MOST_CHUNKS = 1000  # a damaged length field must not make the walk endless

# A branch that is seldom taken, as a call of its own. Inlined, each of its operations is visited
# for every image only to learn that it has nothing to do: a third of the time of decoding.
rare = functools.partial(tf.function, autograph=False, experimental_attributes={"_noinline": True})


def orientation(encoded):
    """Returns the orientation 1..8 of one encoded image; 1 where there is none.

    Args:
        encoded: Scalar string tensor, the bytes of a JPEG, PNG or WebP file (others give 1).

    Returns:
        Scalar int32 tensor.
    """
    # One scan for the word spares the walk, a millisecond, on files that have no tag at all. To
    # remove it and compare lengths is twice as quick as a match, whose pattern must be anchored.
    without = tf.strings.regex_replace(encoded, "[Ee][Xx][Ii][Ff]", "", replace_global=False)
    named = tf.strings.length(without) < tf.strings.length(encoded)
    return tf.cond(named, lambda: _parse(encoded), lambda: tf.constant(1))


@rare
def _parse(encoded):
    data = tf.pad(tf.io.decode_raw(encoded, tf.uint8), [[0, _PADDING]])
    block = _tiff_block(data)
    return tf.cond(block > 0, lambda: _first_directory(data, block), lambda: tf.constant(1))


def upright(image, tag):
    """Returns `image` [height, width, channels] turned the way orientation `tag` asks for."""
    return tf.cond(tag > 1, lambda: _turned(image, tag), lambda: image)


@rare
def _turned(image, tag):
    turned = tf.switch_case(
        tag - 1,
        [
            lambda: image,
            lambda: tf.reverse(image, [1]),
            lambda: tf.reverse(image, [0, 1]),
            lambda: tf.reverse(image, [0]),
            lambda: tf.transpose(image, [1, 0, 2]),
            lambda: tf.reverse(tf.transpose(image, [1, 0, 2]), [1]),
            lambda: tf.reverse(tf.transpose(image, [1, 0, 2]), [0, 1]),
            lambda: tf.reverse(tf.transpose(image, [1, 0, 2]), [0]),
        ],
    )
    return tf.ensure_shape(turned, [None, None, image.shape[2]])


def _bytes(data, at, count):
    """Returns `count` bytes at `at` as int32; reads beyond the end give the zero padding."""
    last = tf.size(data) - count
    return tf.cast(tf.slice(data, [tf.clip_by_value(at, 0, last)], [count]), tf.int32)


def _integer(data, at, size, little=False):
    """Returns the unsigned integer of `size` bytes at `at`; `little` is a bool or a bool tensor."""
    weights = [256**i for i in reversed(range(size))]
    return tf.reduce_sum(_bytes(data, at, size) * tf.where(little, weights[::-1], weights))


def _is(data, at, text):
    return tf.reduce_all(_bytes(data, at, len(text)) == list(text))


def _tiff_block(data):
    """Returns where the TIFF block starts, 0 where there is none."""
    jpeg = _is(data, 0, b"\xff\xd8\xff")
    png = _is(data, 0, b"\x89PNG")
    webp = _is(data, 0, b"RIFF") & _is(data, 8, b"WEBP")
    return tf.case(
        [
            (jpeg, lambda: _walk(data, 2, _jpeg_segment)),
            (png, lambda: _walk(data, 8, _png_chunk)),
            (webp, lambda: _walk(data, 12, _webp_chunk)),
        ],
        default=lambda: tf.constant(0),
    )


def _walk(data, start, step):
    """Follows `step(data, at) -> (found, next)` until one is found (> 0) or the chunks end."""
    _, found = tf.while_loop(
        lambda at, found: (found == 0) & (at > 0) & (at < tf.size(data)),
        lambda at, found: step(data, at),
        [tf.constant(start), tf.constant(0)],
        maximum_iterations=_MOST_CHUNKS,
    )
    return tf.maximum(found, 0)


def _jpeg_segment(data, at):
    marker, size = _integer(data, at, 2), _integer(data, at + 2, 2)
    exif = (marker == 0xFFE1) & _is(data, at + 4, b"Exif\0\0")
    # APP0 to APP15 and COM may stand before Exif; any other segment begins the picture itself.
    more = ((marker >= 0xFFE0) & (marker <= 0xFFEF)) | (marker == 0xFFFE)
    return tf.where(more, at + 2 + size, -1), tf.where(exif, at + 10, 0)


def _png_chunk(data, at):
    size = _integer(data, at, 4)
    exif = _is(data, at + 4, b"eXIf")
    more = (size >= 0) & (size < 1 << 30)
    return tf.where(more, at + 12 + size, -1), tf.where(exif, at + 8, 0)


def _webp_chunk(data, at):
    size = _integer(data, at + 4, 4, True)
    exif = _is(data, at, b"EXIF")
    prefix = tf.where(_is(data, at + 8, b"Exif\0\0"), 6, 0)  # some writers keep JPEG's prefix
    more = (size >= 0) & (size < 1 << 30)
    return tf.where(more, at + 8 + size + size % 2, -1), tf.where(exif, at + 8 + prefix, 0)


def _first_directory(data, block):
    little = _is(data, block, b"II")
    directory = block + _integer(data, block + 4, 4, little)
    count = tf.clip_by_value(_integer(data, directory, 2, little), 0, 512)
    entries = tf.cast(_entries(data, directory + 2, count), tf.int32)
    pair = tf.where(little, [1, 256], [256, 1])
    tags = tf.reduce_sum(entries[:, 0:2] * pair, 1)
    values = tf.reduce_sum(entries[:, 8:10] * pair, 1)
    value = tf.reduce_max(tf.concat([tf.where(tags == ORIENTATION_TAG, values, 0), [0]], 0))
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _entries(data, at, count):
    """Returns the directory's entries as rows of 12 bytes, as many as the file really holds."""
    at = tf.clip_by_value(at, 0, tf.size(data))
    count = tf.minimum(count, (tf.size(data) - at) // 12)
    return tf.reshape(tf.slice(data, [at], [count * 12]), [-1, 12])
