"""The tiny classifier and its training once more, in the plainest operations of TensorFlow.

No layer of Keras and nothing of tlkit computes here: each rule is written out from its
definition, so that what training did can be said beforehand.
"""

import numpy as np
import tensorflow as tf

EPSILON = 1e-3  # BatchNormalization's in Keras


def values(model):
    """Returns copies of all weights by layer and name, such as `conv1/kernel`."""
    layers = [*model.backbone.net.layers, *model.classify.layers]
    return {
        f"{layer.name}/{weight.name}": weight.numpy().copy()
        for layer in layers
        for weight in layer.weights
    }


def preprocessed(pixels):
    """Returns what the first stage reads of pixels 0..255: -1 to 1."""
    return np.asarray(pixels, np.float32) / 127.5 - 1


def stage(v, x, i, statistics=None):
    """Returns the output of stage `i`; `statistics` takes the batch's own where it is a list."""
    x = tf.nn.conv2d(x, v[f"conv{i}/kernel"], 2, "SAME")
    mean, variance = v[f"norm{i}/moving_mean"], v[f"norm{i}/moving_variance"]
    if statistics is not None:
        mean = tf.reduce_mean(x, [0, 1, 2])
        variance = tf.reduce_mean((x - mean) ** 2, [0, 1, 2])
        statistics.append((i, mean.numpy(), variance.numpy()))
    x = (x - mean) / tf.sqrt(variance + EPSILON)
    return tf.nn.relu(x * v[f"norm{i}/gamma"] + v[f"norm{i}/beta"])


def logits(v, x, first=1, statistics=None):
    """Returns the logits of rows `x` from below stage `first`; 4 is the head alone."""
    for i in range(first, 4):
        x = stage(v, x, i, statistics)
    if first < 4:
        x = tf.reduce_mean(x, [1, 2])
    return tf.linalg.matmul(x, v["logits/kernel"]) + v["logits/bias"]


def cross_entropy(targets, scores):
    """Returns -sum_c t_c log p_c of each image."""
    log_p = scores - tf.reduce_logsumexp(scores, -1, keepdims=True)
    return -tf.reduce_sum(targets * log_p, -1)


def opened(first, live=False):
    """Returns the names of what trains from stage `first` on; `live` with the normalization."""
    names = ["logits/kernel", "logits/bias"]
    for i in range(first, 4):
        names += [f"conv{i}/kernel"] + [f"norm{i}/gamma", f"norm{i}/beta"] * live
    return names


def gradients(v, x, targets, first=3, each=cross_entropy, weights=1.0, penalty=None, live=False):
    """Returns (loss, {name: gradient}, statistics) of one batch.

    Args:
        each: (targets, scores) to the loss of each image.
        weights: What each image counts.
        penalty: ({name: variable}) to what is added to the mean loss.
        live: True normalizes by the batch's own statistics.
    """
    free = {name: tf.Variable(v[name]) for name in opened(first, live)}
    both = v | free
    found = [] if live else None
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(each(targets, logits(both, x, first, found)) * weights)
        total = loss + (penalty(both) if penalty else 0.0)
    slopes = tape.gradient(total, free)
    return float(loss), {name: slope.numpy() for name, slope in slopes.items()}, found or []


def descended(v, batches, rates, clip=0.0, multiplier=None, decay=0.0, **options):
    """Returns (values, losses) after plain gradient descent on `batches` of (x, targets).

    Args:
        rates: One for each batch.
        clip: Largest norm of all gradients of a step together.
        multiplier: Factors on the rate by the start of a name.
        decay: Share of a kernel, times its rate, that each step takes away.
        options: Of `gradients`; `weights` is a function of the targets here.
    """
    v, losses, weigh = dict(v), [], options.pop("weights", lambda targets: 1.0)
    for (x, targets), rate in zip(batches, rates, strict=True):
        loss, slopes, statistics = gradients(v, x, targets, weights=weigh(targets), **options)
        losses.append(loss)
        norm = np.sqrt(sum(np.sum(slope**2) for slope in slopes.values()))
        shrink = clip / norm if clip and norm > clip else 1.0
        for name, slope in slopes.items():
            own = float(rate) * (multiplier or {}).get(name.split("/")[0], 1.0)
            pull = decay * v[name] if name.endswith("kernel") else 0.0
            v[name] = v[name] - own * (shrink * slope + pull)
        v |= _followed(v, statistics)
    return v, losses


def _followed(v, statistics):
    """Returns the statistics nine tenths of the old and a tenth of the batch's."""
    found = {}
    for i, mean, variance in statistics:
        for name, new in (("moving_mean", mean), ("moving_variance", variance)):
            found[f"norm{i}/{name}"] = 0.9 * v[f"norm{i}/{name}"] + 0.1 * new
    return found
