"""Pruning, clustering and quantization-aware training by tensorflow-model-optimization, one after another.

In: a trained Keras model, images and labels. Out: a smaller tf_keras model of the same layers.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.export.tfmot.legacy_keras import tf_keras, to_tf_keras
from keras_se.export.tfmot.package import tfmot
from keras_se.export.tfmot.quantization import quantize_aware_tfmot
from keras_se.optional_packages import import_extra
from keras_se.preprocessing import preprocessing_of

_PRUNED = ("Conv2D", "Dense")
"""Layers whose kernels are pruned and clustered; depthwise ones, nine weights a channel, cannot spare any."""


@dataclass(frozen=True)
class Compression:
    """Sparsity, clusters and bits to train a network's weights to; a step that is None or False is left out."""

    sparsity: float | None = None
    """Share of each kernel's weights that becomes zero."""
    clusters: int | None = None
    """Number of distinct weights that a kernel keeps."""
    quantize: bool = False
    """True to train on with weights and activations rounded to 8 bits."""
    epochs: int = 1
    """Epochs of each of the three steps."""
    batch_size: int = 32
    learning_rate: float = 1e-3
    """Learning rate of SGD with momentum 0.9."""
    seed: int = 0
    """Seed of the images' order."""

    def __post_init__(self):
        if self.sparsity is not None and not 0 < self.sparsity < 1:
            raise InputError(f"sparsity must lie between 0 and 1; got sparsity={self.sparsity!r}")
        if self.clusters is not None and self.clusters < 2:
            raise InputError(f"clusters must be at least 2; got clusters={self.clusters!r}")
        if self.epochs < 1 or self.batch_size < 1:
            raise InputError(
                f"epochs and batch_size must be at least 1; got epochs={self.epochs!r}, batch_size={self.batch_size!r}"
            )

    @property
    def preserved(self) -> str:
        """Name what quantization-aware training must keep, as `quantize_aware_tfmot` does."""
        return " and ".join(name for name in ("sparsity", "clusters") if getattr(self, name) is not None)


def compress(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    options: Compression,
    *,
    calibration: np.ndarray | None = None,
) -> Any:
    """Train a network to fewer weights and bits: pruned, then clustered, then quantization-aware, as asked.

    Each keeps what the ones before it did: zeros stay zeros, clusters stay clusters.

    Args:
        model: a trained Keras 3 classifier, functional or sequential, channels_last; it stays as it is.
        images: float32 `(n, height, width, channels)`, as the network sees them.
        labels: int `(n,)`.
        calibration: images for the ranges of activations; the first 200 of `images` when None.
    Returns:
        A `tf_keras.Model`, stripped of what pruning and clustering needed; `copy_weights_back` brings its weights into
        the Keras model, and `to_int8_tflite` writes a quantized one.
    Raises:
        InputError: a layer cannot be had in tf_keras, or the calibration images are unfit.
    """
    network = to_tf_keras(model)
    if options.sparsity is not None:
        pruned = prunable(network, options.sparsity, steps=options.epochs * -(-len(images) // options.batch_size))
        fine_tune(pruned, images, labels, options, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
        network = tfmot.sparsity.keras.strip_pruning(pruned)
    if options.clusters is not None:
        clustered = clusterable(network, options.clusters, preserve_sparsity=options.sparsity is not None)
        fine_tune(clustered, images, labels, options)
        network = tfmot.clustering.keras.strip_clustering(clustered)
    if options.quantize:
        calibration = images[:200] if calibration is None else calibration
        input_range = preprocessing_of(model).input_range
        network = quantize_aware_tfmot(network, calibration, preserve=options.preserved, input_range=input_range)
        fine_tune(network, images, labels, options)
        if options.clusters is not None:
            network = tfmot.experimental.combine.strip_clustering_cqat(network)
    return network


def prunable(network: Any, sparsity: float, *, steps: int) -> Any:
    """Wrap a tf_keras model so that its kernels lose their smallest weights in training with `UpdatePruningStep`.

    Args:
        sparsity: the share of zeros, reached by a cubic schedule after two thirds of the steps.
        steps: updates that there will be.
    """
    end = max(1, 2 * steps // 3)
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        0.0, sparsity, begin_step=0, end_step=end, frequency=max(1, end // 20)
    )
    return _wrapped(network, lambda layer: tfmot.sparsity.keras.prune_low_magnitude(layer, schedule))


def clusterable(network: Any, clusters: int, *, preserve_sparsity: bool = False) -> Any:
    """Wrap a tf_keras model so that each kernel trains as `clusters` distinct values, a zero among them if sparse."""
    start = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
    # The public function has no preserve_sparsity.
    path = "tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster"
    cluster = import_extra(path, "tfmot").cluster_weights

    def wrap(layer):
        return cluster(layer, clusters, cluster_centroids_init=start, preserve_sparsity=preserve_sparsity)

    return _wrapped(network, lambda layer: wrap(layer) if np.prod(layer.kernel.shape) > clusters else layer)


def fine_tune(
    network: Any, images: np.ndarray, labels: np.ndarray, options: Compression, *, callbacks: Any = ()
) -> Any:
    """Train a tf_keras classifier on; returns the history of `fit`. Its outputs are logits, or end in a softmax."""
    last = getattr(network.layers[-1], "layer", network.layers[-1])
    logits = getattr(getattr(last, "activation", None), "__name__", "linear") != "softmax"
    tf_keras.utils.set_random_seed(options.seed)
    with network.distribute_strategy.scope():
        network.compile(
            tf_keras.optimizers.SGD(options.learning_rate, momentum=0.9),
            tf_keras.losses.SparseCategoricalCrossentropy(from_logits=logits),
            metrics=["accuracy"],
        )
    return network.fit(
        images, labels, batch_size=options.batch_size, epochs=options.epochs, callbacks=list(callbacks), verbose=0
    ).history


def _wrapped(network: Any, wrap: Any) -> Any:
    """Wrap the layers of a network that have kernels, and keep each layer's weights."""
    return tf_keras.models.clone_model(
        network, clone_function=lambda layer: wrap(layer) if type(layer).__name__ in _PRUNED else layer
    )
