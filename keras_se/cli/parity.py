"""Command `keras-se parity`: a Keras model and .tflite files in, the verdict on their agreement out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional, arg

from keras_se.cli.command import left_out
from keras_se.cli.elsewhere import Elsewhere
from keras_se.cli.image_options import ImageOptions
from keras_se.cli.tables import Rows, parity_rows
from keras_se.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np


@dataclass(frozen=True)
class Parity(Elsewhere, ImageOptions):
    """Run the same images through a Keras model, or a .tflite file, and .tflite files, and say whether they agree."""

    example: ClassVar[str] = "keras-se parity run/model.keras files/*.tflite --data photos/"

    reference: Positional[Path]
    """Path of a .keras file; or of a .tflite file, which may be the same as the other, to compare runtimes."""
    files: Positional[tuple[Path, ...]]
    """Paths of .tflite files."""
    data: Annotated[str, arg(metavar="SOURCE")]
    """Where the images come from, as in `train`; the test images are taken."""
    engines: Annotated[
        tuple[str, ...] | None, left_out("those of the first three that can run the file", metavar="NAME …")
    ] = None
    """litert (XNNPACK), litert_reference, tflm, openvino."""
    reference_engine: str = "litert_reference"
    """Runtime of a reference that is a .tflite file."""
    images: int = 200
    """Images to compare on."""

    def run_there(self) -> Rows:
        from keras_se.export.evaluation.parity import check_files, compare_all, is_file

        check_files(self.files, self.engines)
        reference, images, labels = self._of_file() if is_file(self.reference) else self._of_model()
        rows = compare_all(
            reference, self.files, images, engines=self.engines, labels=labels, reference_engine=self.reference_engine
        )
        return parity_rows(rows)

    def _of_model(self) -> "tuple[keras.Model, np.ndarray, np.ndarray]":
        from keras_se.export.conversion.converter import load_model
        from keras_se.export.conversion.known_input import on_images_of
        from keras_se.export.manifest import preprocessing_of_manifest
        from keras_se.export.quantization.image_range import agreed_preprocessing, check_accuracy
        from keras_se.export.tflite.model import TFLiteModel

        model = on_images_of(load_model(self.reference), TFLiteModel.load(self.files[0]).input_shape[1:])
        origin = self.origin(model, self.reference)
        if not self.preprocessing_fields:
            recorded = {str(file): preprocessing_of_manifest(file) for file in self.files}
            origin = agreed_preprocessing({file: record for file, record in recorded.items() if record}, origin)
        images, labels = self.sample(self.data, origin.preprocessing, "test", self.images)
        check_accuracy(model, images, labels, origin)
        return model, images, labels

    def _of_file(self) -> "tuple[Path, np.ndarray, np.ndarray]":
        from keras_se.export.evaluation.classifier import stated_preprocessing
        from keras_se.export.tflite.model import TFLiteModel
        from keras_se.preprocessing import Preprocessing

        file = TFLiteModel.load(self.reference)
        if len(file.input_shape) != 4:
            raise InputError(
                f"{self.reference} must take one image (1, height, width, channels); its input is {file.input_shape}"
            )
        if self.preprocessing_fields:
            preprocessing = Preprocessing(*file.input_shape[1:3], **self.preprocessing_fields)
        else:
            preprocessing = stated_preprocessing(self.reference, file)
        return self.reference, *self.sample(self.data, preprocessing, "test", self.images)
