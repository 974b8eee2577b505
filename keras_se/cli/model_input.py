"""Options of the commands that take a model which does not say what image it takes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from keras_se.cli.command import Command, Group, left_out
from keras_se.errors import InputError

if TYPE_CHECKING:
    import keras

_INPUT = Group("of a model that does not say what image it takes")


@dataclass(frozen=True, kw_only=True)
class ModelInput(Command):
    """Options of the image that a model takes."""

    image_size: Annotated[tuple[int, ...] | None, left_out("the model's own", metavar="HEIGHT [WIDTH]"), _INPUT] = None
    """Sides of the images, for a model that takes any size."""
    input_shape: Annotated[
        tuple[int, int, int] | None, left_out("the model's own", metavar="HEIGHT WIDTH CHANNELS"), _INPUT
    ] = None
    """All three, for a model of a class of its own, which has no input layer."""

    def input_shape_of(self, model: "keras.Model") -> tuple[int, ...] | None:
        """Return the shape that the options give; None without them.

        Raises:
            InputError: both were given, or a number of sides that is not 1 or 2.
        """
        if self.image_size is None:
            return self.input_shape
        if self.input_shape is not None:
            raise InputError("--input-shape says what --image-size says; give it alone")
        if len(self.image_size) not in (1, 2):
            raise InputError(f"--image-size takes one side, or height and width; got {len(self.image_size)} numbers")
        from keras_se.export.conversion.known_input import known_shape

        known = known_shape(model)
        channels = known[-1] if isinstance(known, tuple) and len(known) == 4 else None
        return self.image_size[0], self.image_size[-1], channels or 3
