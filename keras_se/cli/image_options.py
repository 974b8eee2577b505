"""Options of the commands that read images for any network, and the images themselves.

`--input-range`, `--mean` and `--std` come in; the preprocessing of the network and a sample of a source go out.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from keras_se.cli.command import Command, Group, left_out
from keras_se.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from keras_se.preprocessing import Origin, Preprocessing


_PIXELS = Group("how images become the network's input")


@dataclass(frozen=True, kw_only=True)
class ImageOptions(Command):
    """Options of how the images of a source become the network's input."""

    input_range: Annotated[
        tuple[float, float] | None,
        left_out("what the run's record says, or the network's own layers, else 0 1", metavar="LOW HIGH"),
        _PIXELS,
    ] = None
    """Least and greatest value that the network takes for a pixel, as 0 255 or -1 1."""
    mean: Annotated[tuple[float, ...] | None, left_out("as --input-range", metavar="FLOAT …"), _PIXELS] = None
    """Or what is subtracted from pixels in 0..1: one number, or one each for red, green and blue."""
    std: Annotated[tuple[float, ...] | None, left_out("as --input-range", metavar="FLOAT …"), _PIXELS] = None
    """And what they are then divided by."""
    skip_corrupt: Annotated[bool, _PIXELS] = False
    """Leave out the images that cannot be decoded, instead of stopping."""

    def origin(self, model: "keras.Model", path: Path) -> "Origin":
        """Return the preprocessing of the options, else that of the model in a file, and where it is from.

        Raises:
            InputError: the options contradict each other, or the model's record is damaged.
        """
        from keras_se.preprocessing import (
            Origin,
            Preprocessing,
            find_preprocessing,
            image_shape,
            recorded_preprocessing,
        )

        requested = self.preprocessing_fields
        if not requested:
            return find_preprocessing(model, path)
        height, width, _ = image_shape(model)
        recorded = recorded_preprocessing(path)
        fields = {"height": height, "width": width} if recorded is None else dataclasses.asdict(recorded)
        return Origin(Preprocessing(**{**fields, **requested}), "the options")

    @property
    def preprocessing_fields(self) -> dict[str, Any]:
        """Return the fields of `keras_se.Preprocessing` that the options set; none without the options.

        Raises:
            InputError: the options contradict each other, or a value is out of range.
        """
        from keras_se.layers.image_input import fields_for_range

        if self.input_range is not None:
            if self.mean is not None or self.std is not None:
                raise InputError("--input-range says what --mean and --std say; give it alone")
            return fields_for_range(*self.input_range)
        if self.mean is None and self.std is None:
            return {}
        fields = {"mean": self.mean or (0.0,), "std": self.std or (1.0,)}
        for name, values in fields.items():
            if len(values) not in (1, 3):
                raise InputError(f"--{name} takes one number, or three for red, green and blue; got {len(values)}")
            if not all(map(math.isfinite, values)) or (name == "std" and min(values) <= 0):
                bound = " above 0" if name == "std" else ""
                raise InputError(f"--{name} takes finite numbers{bound}; got {' '.join(map(str, values))}")
        return {name: values * (3 // len(values)) for name, values in fields.items()}

    def sample(
        self, data: str, preprocessing: "Preprocessing", split: str, count: int
    ) -> "tuple[np.ndarray, np.ndarray]":
        """Return images of a source as the network sees them, and their labels.

        Args:
            data: the source's name or folder, as `train --data` takes it.
            split: "train" or "test".
            count: how many images; at least 1.
        Returns:
            Float32 `(count, height, width, 3)` and int `(count,)`; fewer where the source has fewer.
        Raises:
            InputError: there is no such source, an image cannot be decoded, or the count is below 1.
        """
        from keras_se.training.data.input_pipeline import sample
        from keras_se.training.data.sources import load_source

        if count < 1:
            raise InputError(f"images must be at least 1; got {count}")
        source = load_source(data, skip_corrupt=self.skip_corrupt)
        return sample(getattr(source, split), preprocessing, count)
