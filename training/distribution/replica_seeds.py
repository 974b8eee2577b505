"""Random numbers that differ by replica: Keras's random layers alone draw the same on all of them."""

import keras
import tensorflow as tf

# Replicas draw from streams this far apart: an odd number near 2^32 divided by the golden ratio, so that no two of
# them, nor neighbouring seeds, meet.
_SEED_STRIDE = 0x9E3779B1


def draw_apart(model: keras.Model) -> None:
    """Let the random layers of `model` draw other numbers on each replica, and on the first what they drew before."""
    for layer in model._flatten_layers():
        for held in list(vars(layer).values()):
            if type(held) is keras.random.SeedGenerator:
                held.__class__ = _ReplicaSeeds  # it is tracked by its layer, which takes no other in its place


class _ReplicaSeeds(keras.random.SeedGenerator):
    """Seeds of a generator, other ones on each replica and its own on the first."""

    def next(self, ordered=True):
        seed = super().next(ordered)
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return seed
        replica = tf.cast(context.replica_id_in_sync_group, seed.dtype)
        return seed + tf.stack([replica * tf.constant(_SEED_STRIDE, seed.dtype), tf.zeros_like(replica)])
