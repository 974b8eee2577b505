"""Error of a quantized file against its float file, operation by operation: both have the same tensor names.

In: both files and images. Out: a `Diagnosis` of each operation.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_se.errors import InputError
from keras_se.export.runtimes.litert import REFERENCE_KERNELS
from keras_se.export.runtimes.tensors import each_images_tensors
from keras_se.export.sandbox import runner
from keras_se.export.tflite.layer_names import layer_path
from keras_se.export.tflite.model import TFLiteModel
from keras_se.progress import track


@dataclass(frozen=True)
class Diagnosis:
    """One operation's output, quantized against float, over all images.

    Images run through each file as a whole, so that the error is that of all operations up to this one.
    """

    tensor: str
    operation: str
    sqnr_db: float
    """Power of the float values over the power of the difference to them, in dB; infinite if there is none."""
    lost_db: float
    """Difference of that to the worst of the operation's inputs, in dB: the error that enters here, and what the
    operation makes of the error before it. Below zero where an operation averages errors away."""
    low: float
    """Least float value."""
    high: float
    """Greatest float value."""
    clipped: float
    """Share of the float values that lie outside the range of the quantized tensor."""
    used: float
    """Part of that range that the float values span, in 0..1."""
    spread: float
    """Greatest magnitude of the widest channel over that of the median one that is ever active. All channels share a
    range: log2 of this is the number of bits that the median channel does without. From the input of SE's MUL to its
    output it shows what the rescaling does."""

    @property
    def name(self) -> str:
        """Layer of the tensor and, within SE, the layer of its own."""
        return layer_path(self.tensor.rpartition(";")[2]) or self.tensor

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them, which has no infinity."""
        fields = dataclasses.asdict(self)
        return {name: None if value in (np.inf, -np.inf) else value for name, value in fields.items()}


def diagnose(float_file: Path | str, quantized_file: Path | str, images: np.ndarray) -> list[Diagnosis]:
    """Compare every operation's output that both files have, in the order of the quantized file's graph.

    Both run on LiteRT's reference kernels.

    Args:
        float_file: a float32 .tflite file.
        quantized_file: the one that was made of it.
        images: float32 `(n, height, width, channels)`, as the network takes them.
    Returns:
        A diagnosis of each operation, in decibels of signal over error.
    Raises:
        InputError: a file cannot be read, the images do not have its input's shape, or most of the one's tensors are
            not in the other.
    Example:
        >>> files = "files/se_mobilenet.float32.tflite", "files/se_mobilenet.static_wi8_ai8.tflite"
        >>> worst = max(diagnose(*files, images[:2]), key=lambda row: row.lost_db)
        >>> worst.lost_db > 0
        True
    """
    files = TFLiteModel.load(float_file), TFLiteModel.load(quantized_file)
    if not _have_the_same_names(*files):  # any two files may share the name of an input or an output
        raise InputError(f"{quantized_file} was not made of {float_file}: most of its tensors have other names")
    return diagnose_files(*files, images, file=f"{float_file} or {quantized_file}")


def diagnose_files(
    float_file: TFLiteModel, quantized_file: TFLiteModel, images: np.ndarray, *, file: str = "the file"
) -> list[Diagnosis]:
    """Diagnose files that are not on disk, as `diagnose` does; both run in a child process.

    Args:
        file: the files' names, for messages.
    Raises:
        InputError: the images do not have the input's shape, there are none, or a file does not run.
    """
    shape = float_file.input_shape
    if images.shape[1:] != shape[1:]:
        raise InputError(f"images must be (n, {', '.join(map(str, shape[1:]))}); got {images.shape}")
    if not len(images):
        raise InputError("diagnosis needs at least one image; got none")
    answer = runner.call(
        f"{__name__}:diagnose_in_child",
        by=REFERENCE_KERNELS,
        file=file,
        steps=len(images),
        anywhere=True,
        float_content=float_file.content,
        quantized_content=quantized_file.content,
        images=images,
    )
    return [Diagnosis(**fields) for fields in answer["diagnoses"]]


def diagnose_in_child(float_content: bytes, quantized_content: bytes, images: np.ndarray) -> dict[str, Any]:
    """Return the fields of each `Diagnosis`; to be run in a child process."""
    contents = float_content, quantized_content
    graphs = [_written(TFLiteModel(content)) for content in contents]
    shared = [name for name in graphs[1] if name in graphs[0]]
    sums = {name: _Sums() for name in shared}
    runs = [_run(content, images, shared) for content in contents]
    for exact, quantized in track(zip(*runs, strict=True), "Running images", total=len(images)):
        for name in exact.keys() & quantized.keys():
            sums[name].add(exact[name].values, quantized[name])
    shared = [name for name in shared if sums[name].count]
    diagnoses: dict[str, Diagnosis] = {}
    for name in shared:
        operation, inputs = graphs[1][name]
        before = [diagnoses[tensor].sqnr_db for tensor in inputs if tensor in diagnoses]
        diagnoses[name] = sums[name].diagnosis(name, operation, before)
    return {"diagnoses": [dataclasses.asdict(diagnosis) for diagnosis in diagnoses.values()]}


@dataclass(frozen=True)
class _Tensor:
    """Values that one run left in a tensor, and the range that its type and scale can hold, half a step of rounding
    included."""

    values: np.ndarray
    low: float = -np.inf
    high: float = np.inf


class _Sums:
    """Sums over the images, from which the figures of a tensor follow."""

    def __init__(self):
        self.signal = self.noise = 0.0
        self.count = self.outside = 0
        self.low, self.high = np.inf, -np.inf
        self.range = (-np.inf, np.inf)
        self.channels: np.ndarray | float = 0.0

    def add(self, exact: np.ndarray, quantized: _Tensor) -> None:
        self.signal += float(np.square(exact).sum())
        self.noise += float(np.square(exact - quantized.values).sum())
        self.count += exact.size
        self.outside += int(((exact < quantized.low) | (exact > quantized.high)).sum())
        self.low, self.high = min(self.low, float(exact.min())), max(self.high, float(exact.max()))
        self.range = (quantized.low, quantized.high)
        channels = np.abs(np.atleast_1d(exact))  # a counter of a loop is a scalar
        self.channels = np.maximum(self.channels, channels.reshape(-1, channels.shape[-1]).max(0))

    def diagnosis(self, tensor: str, operation: str, before: list[float]) -> Diagnosis:
        width = self.range[1] - self.range[0]
        active = np.ravel(self.channels)[np.ravel(self.channels) > 0]
        sqnr = float(10 * np.log10(self.signal / self.noise)) if self.noise and self.signal else np.inf
        return Diagnosis(
            tensor,
            operation,
            sqnr_db=sqnr,
            lost_db=min(before) - sqnr if before and np.isfinite(sqnr) else 0.0,
            low=self.low,
            high=self.high,
            clipped=self.outside / self.count,
            used=(self.high - self.low) / width if np.isfinite(width) else 1.0,
            spread=float(active.max() / np.median(active)) if active.size else 1.0,
        )


def _have_the_same_names(float_file: TFLiteModel, quantized_file: TFLiteModel) -> bool:
    exact, quantized = (_written(file).keys() for file in (float_file, quantized_file))
    return 2 * len(exact & quantized) >= len(quantized)


def _written(file: TFLiteModel) -> dict[str, tuple[str, list[str]]]:
    """Return the operation that writes each tensor and the tensors that it reads, by the tensor's name, in order."""
    graph = file.graph
    names = [tensor.name.decode() for tensor in graph.tensors]
    return {
        names[output]: (operation, [names[index] for index in operator.inputs if index >= 0])
        for operator, operation in zip(graph.operators, file.operation_names, strict=False)
        for output in operator.outputs
    }


def _run(content: bytes, images: np.ndarray, names: list[str]) -> Iterator[dict[str, _Tensor]]:
    """Yield the named tensors after each image."""
    for tensors in each_images_tensors(content, images, names, resolver="BUILTIN_REF"):
        yield {name: _dequantized(*tensor) for name, tensor in tensors.items()}


def _dequantized(values: np.ndarray, scale: float, zero: int) -> _Tensor:
    if scale == 0:
        return _Tensor(values.astype("float64"))
    limits = np.iinfo(values.dtype)
    ends = ((limit - zero + half) * scale for limit, half in ((limits.min, -0.5), (limits.max, 0.5)))
    return _Tensor((values.astype("float64") - zero) * scale, *ends)
