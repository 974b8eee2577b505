"""Build the end of a network behind the last feature map: pooling and the classifier."""

from dataclasses import dataclass

from keras import layers

from keras_se.models.blocks import CHANNELS_LAST, Tensor


@dataclass(frozen=True)
class Head:
    """End of a network: the arguments of `create_model` with the same names."""

    classes: int = 1000
    include_top: bool = True
    pooling: str | None = None
    classifier_activation: str | None = "softmax"

    def __post_init__(self):
        if self.include_top and self.classes < 1:
            raise ValueError(f"classes must be at least 1; got classes={self.classes}")
        if self.classes == 1 and self.classifier_activation == "softmax":
            object.__setattr__(self, "classifier_activation", "sigmoid")  # a softmax of one output is 1 for any image
        if self.pooling not in (None, "avg", "max"):
            raise ValueError(f"pooling must be None, avg or max; got pooling={self.pooling!r}")

    def __call__(
        self,
        x: Tensor,
        *,
        dropout: float = 0.0,
        hidden: tuple[int, ...] = (),
        activation: str = "relu",
        flatten: bool = False,
    ) -> Tensor:
        """Return the outputs.

        Args:
            dropout: before the classifier, and after each hidden layer.
            hidden: units of the dense layers between the features and the classifier, each followed by `activation`.
            flatten: whether the classifier sees every position of the feature map, and not its mean.
        """
        if self.include_top and flatten:
            x = layers.Flatten(data_format=CHANNELS_LAST, name="flatten")(x)
        elif self.include_top or self.pooling == "avg":
            x = layers.GlobalAveragePooling2D(data_format=CHANNELS_LAST, name="avg_pool")(x)
        elif self.pooling == "max":
            x = layers.GlobalMaxPooling2D(data_format=CHANNELS_LAST, name="max_pool")(x)
        if not self.include_top:
            return x
        for number, units in enumerate(hidden, 1):
            x = layers.Dense(units, activation=activation, name=f"hidden{number}")(x)
            x = layers.Dropout(dropout, name=f"hidden{number}_dropout")(x)
        if dropout and not hidden:
            x = layers.Dropout(dropout, name="dropout")(x)
        x = layers.Dense(self.classes, name="logits")(x)
        if self.classifier_activation is None:
            return x
        return layers.Activation(self.classifier_activation, name="predictions")(x)
