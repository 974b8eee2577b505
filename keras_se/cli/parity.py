"""Command `keras-se parity`: a Keras model and .tflite files in, the verdict on their agreement out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional, arg

from keras_se.cli.command import left_out
from keras_se.cli.elsewhere import Elsewhere
from keras_se.cli.image_options import ImageOptions
from keras_se.cli.tables import Rows, parity_rows


@dataclass(frozen=True)
class Parity(Elsewhere, ImageOptions):
    """Run the same images through a Keras model and .tflite files, and say whether they agree."""

    example: ClassVar[str] = "keras-se parity run/model.keras files/*.tflite --data photos/"

    reference: Positional[Path]
    """Path of a .keras file."""
    files: Positional[tuple[Path, ...]]
    """Paths of .tflite files."""
    data: Annotated[str, arg(metavar="SOURCE")]
    """Where the images come from, as in `train`; the test images are taken."""
    engines: Annotated[
        tuple[str, ...] | None, left_out("those of the first three that can run the file", metavar="NAME …")
    ] = None
    """litert (XNNPACK), litert_reference, tflm, openvino."""
    images: int = 200
    """Images to compare on."""

    def run_there(self) -> Rows:
        from keras_se.export.conversion.converter import load_model
        from keras_se.export.conversion.known_input import says_its_input, with_input_shape
        from keras_se.export.evaluation.parity import check_files, compare_all
        from keras_se.export.manifest import preprocessing_of_manifest
        from keras_se.export.quantization.image_range import agreed_preprocessing, check_accuracy
        from keras_se.export.tflite.model import TFLiteModel

        check_files(self.files, self.engines)
        model = load_model(self.reference)
        if not says_its_input(model):
            model = with_input_shape(model, TFLiteModel.load(self.files[0]).input_shape[1:])
        origin = self.origin(model, self.reference)
        if not self.preprocessing_fields:
            recorded = {str(file): preprocessing_of_manifest(file) for file in self.files}
            origin = agreed_preprocessing({file: record for file, record in recorded.items() if record}, origin)
        images, labels = self.sample(self.data, origin.preprocessing, "test", self.images)
        check_accuracy(model, images, labels, origin)
        rows = compare_all(model, self.files, images, engines=self.engines, labels=labels)
        return parity_rows(rows)
