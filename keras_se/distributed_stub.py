"""Register the class that `keras_se.training.distributed` saves, so that its files load before training is imported."""

import keras


@keras.saving.register_keras_serializable(package="keras_se", name="Distributed")
class Distributed(keras.Model):
    """Reads such a model; its class registers itself under the same name once it is imported."""

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Build the model, of the class that training has."""
        from keras_se.training.distribution.model import _Distributed

        return _Distributed.from_config(config, custom_objects)
