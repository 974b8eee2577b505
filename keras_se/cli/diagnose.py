"""Command `keras-se diagnose`: a float and a quantized file in, the operations that lose most out."""

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional, arg

from keras_se.cli.command import left_out
from keras_se.cli.elsewhere import Elsewhere
from keras_se.cli.image_options import ImageOptions
from keras_se.cli.tables import Rows
from keras_se.errors import InputError
from keras_se.pictures import check_picture

if TYPE_CHECKING:
    from keras_se.export.evaluation.layer_errors import Diagnosis


@dataclass(frozen=True)
class Diagnose(Elsewhere, ImageOptions):
    """Show where a quantized file departs from its float file, operation by operation."""

    example: ClassVar[str] = "keras-se diagnose FLOAT.tflite INT8.tflite --data photos/ --plot diagnosis.png"

    float_file: Positional[Path]
    """Float32 .tflite file, whose manifest is read where there is one; or the .keras file, for a quantized file
    that is written in another form than the float one, as those with hard swish are."""
    quantized_file: Positional[Path]
    """Quantized .tflite file that was made of it."""
    data: Annotated[str, arg(metavar="SOURCE")]
    """Where the images come from, as in `train`; the test images are taken."""
    images: int = 50
    """Images to compare on."""
    most: int = 20
    """Operations to show, those that lose most; with --json all, in the order of the graph."""
    plot: Annotated[Path | None, left_out("no picture", metavar="PATH")] = None
    """An image file for the decibels and the channels' spread along the graph."""

    def run_there(self) -> Rows:
        from keras_se.export.conversion.converter import load_model, to_tflite
        from keras_se.export.conversion.known_input import on_images_of
        from keras_se.export.conversion.lowering import lower
        from keras_se.export.evaluation.layer_errors import diagnose
        from keras_se.export.evaluation.plots import plot
        from keras_se.export.manifest import lowering_of, preprocessing_of_file
        from keras_se.export.tflite.model import TFLiteModel

        if self.most < 1:
            raise InputError(f"most must be at least 1; got {self.most}")
        if self.plot is not None:
            check_picture(self.plot)
        quantized_file = TFLiteModel.load(self.quantized_file)
        lowering = lowering_of(self.quantized_file)
        with tempfile.TemporaryDirectory() as folder:
            float_file = self.float_file
            if float_file.suffix == ".keras":
                float_file = Path(folder) / "float32.tflite"
                model = on_images_of(load_model(self.float_file), quantized_file.input_shape[1:])
                float_file.write_bytes(to_tflite(lower(model, lowering)).content)
            TFLiteModel.load(float_file)
            if float_file == self.float_file and lowering_of(float_file) != lowering:
                raise InputError(
                    f"{self.quantized_file} is written in another form than {float_file}; give the .keras file instead"
                )
            preprocessing = dataclasses.replace(preprocessing_of_file(self.quantized_file), **self.preprocessing_fields)
            images, _ = self.sample(self.data, preprocessing, "test", self.images)
            errors = diagnose(float_file, self.quantized_file, images)
        if self.plot is not None:
            plot(errors, self.plot, title=self.quantized_file.name)
        worst = sorted(errors, key=lambda error: -error.lost_db)[: self.most]
        return Rows(
            document=[error.to_dict() for error in errors],
            columns=("tensor", "operation", "dB", "lost", "clipped", "used", "spread"),
            cells=[_cells(error) for error in worst],
            notes=(f"at the end {errors[-1].sqnr_db:.1f} dB, of {len(images)} images",),
        )


def _cells(error: "Diagnosis") -> tuple[str, ...]:
    return (
        error.name,
        error.operation,
        f"{error.sqnr_db:.1f}",
        f"{error.lost_db:.1f}",
        f"{error.clipped:.2%}",
        f"{error.used:.0%}",
        f"{error.spread:.1f}",
    )
