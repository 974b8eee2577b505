"""`distributed(model)` without a strategy, in this process; and the names of Keras that it depends on."""

import inspect

import keras
import numpy as np
import pytest

from keras_se.training.distribution.model import PRIVATE, PRIVATE_ATTRIBUTES, distributed
from keras_se.training.distribution.replica_seeds import _ReplicaSeeds


def small(**arguments):
    return distributed(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), **arguments)


def test_without_a_strategy_it_is_plain_keras():
    images, targets = np.random.default_rng(0).normal(size=(2, 16, 4)).astype("float32")
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    start = plain.get_weights()
    ours = distributed(keras.models.clone_model(plain))
    for model in (plain, ours):
        model.set_weights(start)
        model.compile("adam", "mse")
        model.fit(images, targets, 8, epochs=2, shuffle=False, verbose=0)
    for weight, other in zip(plain.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
        assert not np.array_equal(weight, start[0])


def test_a_saved_one_loads(tmp_path):
    """It has the settings of `distributed`, and its random layers as it left them."""
    model = distributed(
        keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)]), micro_batches=2
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(np.ones((1, 4))), model(np.ones((1, 4))))
    assert (loaded.micro_batches, loaded.jit_passes) == (2, False)
    (dropout,) = [layer for layer in loaded.layers if isinstance(layer, keras.layers.Dropout)]
    assert type(dropout.seed_generator) is _ReplicaSeeds


def test_what_is_no_graph_is_refused():
    with pytest.raises(ValueError, match="a functional model or a built Sequential; got Sequential"):
        distributed(keras.Sequential([keras.layers.Dense(2)]))
    with pytest.raises(ValueError, match="micro_batches must be at least 1; got micro_batches=0"):
        small(micro_batches=0)


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in PRIVATE.items() for name in names])
def test_the_private_names_of_keras_are_as_they_were(owner, name):
    """Override or call of each: when Keras changes one, read distributed_model.py again."""
    assert hasattr(owner, name), f"{owner.__name__}.{name} is gone"
    assert str(inspect.signature(getattr(owner, name))) == PRIVATE_SIGNATURES[name], f"{owner.__name__}.{name} changed"


@pytest.mark.parametrize("name", PRIVATE_ATTRIBUTES)
def test_the_private_attributes_of_a_compiled_model_are_there(name):
    model = small()
    model.compile("sgd", "mse")
    assert hasattr(model, name), f"{name} is gone"


PRIVATE_SIGNATURES = {
    "_maybe_symbolic_build": "(self, iterator=None, data_batch=None)",
    "_compute_loss": "(self, x=None, y=None, y_pred=None, sample_weight=None, training=True)",
    "_flatten_layers": "(self, include_self=True, recursive=True)",
    "_all_reduce_sum_gradients": "(self, grads_and_vars)",
}
