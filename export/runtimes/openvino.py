"""OpenVINO's runtime on a .tflite file.

In: a file and images. Out: its outputs, or the file in OpenVINO's own format.
"""

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from keras_se.errors import InputError
from keras_se.export.runtimes.base import Engine, Outputs, run_each
from keras_se.export.tflite.model import TFLiteModel
from keras_se.optional_packages import import_extra

# Otherwise it rounds the activations before 8-bit weights to 8 bits of its own accord, image by image, and computes
# in bfloat16 where the processor can: then what is measured is no more the file's.
_AS_THE_FILE_SAYS = {"EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_NUM_THREADS": 2}
_IN_FLOAT = {"LP_TRANSFORMS_MODE": False}
"""Computes with the file's 8-bit numbers in float32: what OpenVINO calls low precision transformations is left out."""
SATURATES = (
    "OpenVINO's int8 saturates on this processor: without VNNI, oneDNN adds two products of 8 bits in 16. Measured is "
    "the file compiled with {'LP_TRANSFORMS_MODE': False}, which does not and takes 1 to 1.5 times as long as float32; "
    "an app must compile it so too, or take float32"
)


def read(content: bytes) -> Any:
    """Read the file as OpenVINO's `Model`.

    Raises:
        InputError: OpenVINO cannot read it.
    """
    core = import_extra("openvino", "openvino").Core()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"  # it takes other formats from memory, this one by its name alone
        path.write_bytes(content)
        try:
            return core.read_model(path)
        except RuntimeError as error:
            raise InputError(f"OpenVINO cannot read the file ({_last_line(error)}); export it again") from None


def compiled(model: Any) -> Any:
    """Compile the model for the processor into a `CompiledModel` that computes what the file says.

    Raises:
        InputError: OpenVINO cannot compile it.
    """
    settings = _AS_THE_FILE_SAYS | (_IN_FLOAT if saturates() else {})
    try:
        return import_extra("openvino", "openvino").Core().compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise InputError(f"OpenVINO cannot compile the file ({_last_line(error)}); choose another recipe") from None


@functools.cache
def saturates() -> bool:
    """Tell by trial whether OpenVINO's int8 convolutions saturate on this processor.

    Two products of an unsigned and a signed 8-bit number are up to 64,770. AVX2 and AVX-512 add them in 16 bits, and
    cut off what exceeds 32,767; VNNI and AMX add them in 32.
    """
    openvino = import_extra("openvino", "openvino")
    operations = import_extra("openvino.opset8", "openvino")
    channels = 64
    image = operations.parameter((1, channels, 1, 1), np.float32)
    low, high = np.float32(0), np.float32(1)
    greatest = operations.fake_quantize(image, low, high, low, high, 256)  # 255 of 255
    kernel = operations.constant(np.full((8, channels, 1, 1), 127, np.int8))
    kernel = operations.multiply(operations.convert(kernel, "f32"), np.float32(1 / 127))
    sums = operations.convolution(greatest, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    model = openvino.Core().compile_model(openvino.Model([sums], [image], "sums"), "CPU", _AS_THE_FILE_SAYS)
    return bool(np.any(model([np.ones((1, channels, 1, 1), np.float32)])[0] < channels - 0.5))


def converted(content: bytes) -> dict[str, Any]:
    """Write OpenVINO's own format, by suffix, after a trial of what it compiles; to be run in a child process.

    Raises:
        InputError: OpenVINO cannot read or compile the file.
    """
    model = read(content)
    request = compiled(model).create_infer_request()
    request.infer([np.zeros(source.shape, source.element_type.to_dtype()) for source in model.inputs])
    openvino = import_extra("openvino", "openvino")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=False)  # a recipe says what has 16 bits
        files = {suffix: path.with_suffix(suffix).read_bytes() for suffix in (".xml", ".bin")}
    return {"version": openvino.__version__, **files}


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1]


def _openvino(content: bytes, images: np.ndarray) -> Outputs:
    model = compiled(read(content))
    file = TFLiteModel(content)
    [input_quantization], [output_quantization] = file.io_quantizations
    request, dtype = model.create_infer_request(), model.input(0).element_type.to_dtype()
    outputs = run_each(
        lambda image: request.infer([image])[model.output(0)],
        images,
        dtype,
        input_quantization,
        output_quantization,
        batch=file.input_shape[0],
    )
    return outputs._replace(note=SATURATES if saturates() else "")


ENGINES = {
    "openvino": Engine(_openvino, extra="openvino"),
}
