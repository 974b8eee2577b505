"""Comparison of two forms of a network on the same images: numbers and a verdict.

Half of its lines are the rule below and what the public names say of themselves.

The rule of a verdict, for a file against Keras:

1. Each constant is the model's own, rounded, and each operation, with its fused activation and bias, the model's own.
   A wrong network fails here, by name, however much noise its number format allows.
2. The logits are within the recipe's tolerance (`keras_se.export.quantization.recipes`): error, decibels and
   agreement. Or, where a network's depth, ranges and margins allow no such figures, they have at most twice the noise
   (6 dB) that is predicted for the file: that of the float network with the file's weights and with each activation
   that the file holds in 8 bits rounded to 8 bits, in the range that these images give it. The prediction runs in float
   and takes no scale of an activation from the file, so that neither a wrong kernel nor a wrong range excuses itself.
   The greatest error is not held there: it is one logit's of one image, which a single activation beyond what
   calibration saw decides. The classes count instead: with labels, the loss of accuracy must not be sure (its 95 %
   interval's lower end) to exceed a point; without, nine classes of ten must be Keras's. Below 3 dB nothing passes:
   that format is none for that network.

   An agreement fails where it is surely below its bound, by the upper end of its 95 % interval: of 48 images, one more
   at the edge of two classes is chance.

Engines among each other are held by the second alone; where they compute alike, to steps of the output
(`keras_se.export.runtimes.registry`). So are two files of other bytes, to the tolerance of the one that rounds more.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.export.conversion.converter import in_float32, load_model
from keras_se.export.conversion.known_input import on_images_of
from keras_se.export.evaluation.originals import Candidate, Originals
from keras_se.export.evaluation.paired_interval import Loss, loss
from keras_se.export.evaluation.verdict import figures_of, hold, hold_predicted, hold_steps
from keras_se.export.manifest import preprocessing_of_manifest
from keras_se.export.quantization.image_range import check_range
from keras_se.export.quantization.recipe_detection import recipe_of
from keras_se.export.runtimes.base import Outputs
from keras_se.export.runtimes.keras_model import run_keras
from keras_se.export.runtimes.litert import REFERENCE_KERNELS
from keras_se.export.runtimes.registry import ENGINES, check_engine, default_engines, find_engine, run_file
from keras_se.export.sandbox.remote import machine_name
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Origin


@dataclass(frozen=True)
class Parity:
    """Distance of a candidate from its reference, on the logits of the same images."""

    file: str
    reference: str
    """"keras", or the engine that runs the reference's file: "litert_reference" unless told otherwise."""
    engine: str
    recipe: str
    """Recipe of the candidate's file, read off its types."""
    images: int
    max_abs: float
    """Greatest difference of a logit."""
    max_lsb: float | None
    """Greatest difference of a logit, in steps of the candidate's output; None for a float output."""
    sqnr_db: float
    """Power of the reference over power of the difference, in decibels; infinite where there is none."""
    top1_agreement: float
    """Share of the images on which both have the same first class."""
    accuracy: float | None
    """Share of the images that the candidate classifies right; None without labels."""
    loss: Loss | None
    """Accuracy lost against the reference on these images, with its interval; None without labels."""
    weight_steps: float | None
    """Greatest difference of a constant from the model's own, in steps of its own scale; None without a model."""
    failures: tuple[str, ...]
    """Bounds that do not hold, each with the figure; empty when all do."""
    tolerance: str
    """Bounds and their reason."""
    machine: str = ""
    """Processor that ran the candidate, with its versions, where that is not this machine's."""
    note: str = ""
    """Steps that an app must take to get these numbers on this processor; empty where none is needed."""

    @property
    def verdict(self) -> str:
        """ "pass" or "fail"."""
        return "fail" if self.failures else "pass"

    def to_dict(self) -> dict[str, Any]:
        """Every field and the verdict; an infinite `sqnr_db` becomes None, which JSON can say."""
        finite = self.sqnr_db if np.isfinite(self.sqnr_db) else None
        return {**asdict(self), "sqnr_db": finite, "verdict": self.verdict}


def compare(
    reference: keras.Model | Path | str,
    candidate: Path | str,
    images: np.ndarray,
    *,
    engine: str = "litert",
    labels: np.ndarray | None = None,
    float_file: Path | str | None = None,
    reference_engine: str = REFERENCE_KERNELS,
) -> Parity:
    """Run the same images through both and hold the difference against its tolerance.

    A Keras reference is held against the tolerance of the candidate's recipe, and the candidate's constants and
    operations to the model's own, in the form that the candidate's manifest tells. A .tflite reference may be the
    candidate itself: then the difference is the engines' own, in steps of the output for an integer file.

    Args:
        reference: a Keras model, or the path of a `.keras` or a `.tflite` file. A model of mixed precision is compared
            as it computes in float32, as its files do.
        candidate: the path of a `.tflite` file.
        images: float32 `(n, height, width, channels)`, as the network sees them: in the range that the candidate's
            manifest tells.
        engine: what runs the candidate: "litert" (XNNPACK), "litert_reference", "tflm" or "openvino".
        labels: int `(n,)`, for the accuracy.
        float_file: the float32 `.tflite` file that the candidate was quantized from, in place of the model's own
            conversion, which takes seconds; of no use where its manifest tells another form than the candidate's.
        reference_engine: what runs a .tflite reference.
    Returns:
        The differences, the bounds and the verdict.
    Raises:
        InputError: a file cannot be read, the engine is unknown or cannot run the file, or the images' shape or range
            does not fit.
    Example:
        >>> compare("run/model.keras", "files/se_mobilenet.static_wi8_ai8.tflite", images).verdict
        'pass'
    """
    _check_labels(labels, images)
    _check_range(images, candidate)
    loaded = _candidate(candidate)
    outputs = _run_file(loaded, images, engine)
    against, originals = _run_reference(reference, images, reference_engine, float_file)
    return _parity(against, outputs, loaded, engine, labels, originals, held=True)


def compare_all(
    reference: keras.Model | Path | str,
    files: Sequence[Path | str],
    images: np.ndarray,
    *,
    engines: Sequence[str] | None = None,
    labels: np.ndarray | None = None,
    reference_engine: str = REFERENCE_KERNELS,
) -> list[Parity]:
    """Compare every file on every engine with the Keras model, and integer files with the reference kernels too.

    The constants and operations of each file are held to those of the model in the file's form. A .tflite reference
    runs on one engine, and each file is compared with it alone.

    Args:
        reference: a Keras model, or the path of a `.keras` or a `.tflite` file.
        files: paths of `.tflite` files.
        images: float32 `(n, height, width, channels)`, as the network sees them.
        engines: names; None for each of `keras_se.export.runtimes.registry.default_engines` that can run the file.
        labels: int `(n,)`, for the accuracy.
        reference_engine: what runs a .tflite reference.
    Returns:
        A row for each file and engine; of a Keras model a further one for each integer file against the reference
        kernels.
    Raises:
        InputError: as `compare`.
    Example:
        >>> rows = compare_all("run/model.keras", ["files/se_mobilenet.float32.tflite"], images, engines=["litert"])
        >>> [(row.recipe, row.engine, row.verdict) for row in rows]
        [('float32', 'litert', 'pass')]
    """
    check_files(files, engines)
    _check_labels(labels, images)
    candidates = [_candidate(path) for path in dict.fromkeys(map(Path, files))]
    for candidate in candidates:
        _check_range(images, candidate.path)
    against, originals = _run_reference(reference, images, reference_engine)
    rows = []
    for candidate in candidates:
        names = engines or [
            name for name in default_engines() if candidate.recipe.name not in ENGINES[name].unsupported_recipes
        ]
        by_engine = {name: _run_file(candidate, images, name) for name in names}
        rows += [_parity(against, by_engine[name], candidate, name, labels, originals, held=True) for name in by_engine]
        kernels = by_engine.pop(REFERENCE_KERNELS, None)
        if against.file is None and kernels is not None and kernels.lsb is not None:
            on_kernels = _Reference(REFERENCE_KERNELS, kernels, candidate)
            rows += [
                _parity(on_kernels, by_engine[name], candidate, name, labels, originals, held=False)
                for name in by_engine
            ]
    return rows


class _Reference(NamedTuple):
    """Outputs that a candidate is compared with, and whose they are."""

    name: str
    outputs: Outputs
    file: Candidate | None = None
    """File that gave them; None for a Keras model."""


def is_file(reference: keras.Model | Path | str) -> bool:
    """Return True for the path of a .tflite file."""
    return not isinstance(reference, keras.Model) and Path(reference).suffix == ".tflite"


def _run_reference(
    reference: Any, images: np.ndarray, engine: str, float_file: Path | str | None = None
) -> tuple[_Reference, Originals]:
    """Run the images through a model, or through a file on an engine."""
    if not is_file(reference):
        model = _model(reference, images)
        originals = Originals(model, images, _run_model(model, images), float_file)
        return _Reference("keras", originals.outputs), originals
    check_engine(engine)
    _check_range(images, reference)
    file = _candidate(reference)
    return _Reference(engine, _run_file(file, images, engine), file), Originals(None, images, None, float_file)


def check_files(files: Sequence[Path | str], engines: Sequence[str] | None) -> None:
    """Refuse, before anything runs, what no engine could run.

    Raises:
        InputError: there is no file or no engine, an engine is unknown, or a file cannot be read or is not whole.
    """
    if not files:
        raise InputError("parity needs at least one .tflite file; got none")
    if engines is not None and not engines:
        raise InputError(f"engines must name at least one of {', '.join(ENGINES)}; got none")
    for name in engines or ():
        check_engine(name)
    for file in files:
        TFLiteModel.load(file)


def _check_labels(labels: np.ndarray | None, images: np.ndarray) -> None:
    if labels is not None and np.shape(labels) != (len(images),):
        raise InputError(f"labels must be one number of a class an image, ({len(images)},); got {np.shape(labels)}")


def _candidate(path: Path | str) -> Candidate:
    file = TFLiteModel.load(path)
    return Candidate(Path(path), file, recipe_of(file))


def _model(reference: keras.Model | Path | str, images: np.ndarray) -> keras.Model:
    """Return the Keras model, on the images' shape where it does not say what it takes."""
    model = reference if isinstance(reference, keras.Model) else load_model(reference)
    return on_images_of(model, images.shape[1:])


def _run_model(model: keras.Model, images: np.ndarray) -> Outputs:
    _check_images(images, model.input_shape[1:], "the model")
    return run_keras(in_float32(model), images)


def _run_file(candidate: Candidate, images: np.ndarray, name: str) -> Outputs:
    path, file, recipe = candidate
    if recipe.name in find_engine(name).unsupported_recipes:
        raise InputError(f"engine {name} cannot run {recipe.name} files; got {path}")
    if (counts := file.io_counts) != (1, 1):
        raise InputError(f"{path} must take one image and give one output; it has {counts[0]} and {counts[1]}")
    _check_images(images, file.input_shape[1:], path)
    return run_file(name, file, images, path)


def _parity(
    against: _Reference,
    outputs: Outputs,
    candidate: Candidate,
    engine: str,
    labels: np.ndarray | None,
    originals: Originals,
    *,
    held: bool,
) -> Parity:
    expected, recipe = against.outputs, candidate.recipe
    if outputs.values.shape != expected.values.shape:
        raise InputError(
            f"{candidate.path} must have the reference's {expected.values.shape[1]} outputs; it has "
            f"{outputs.values.shape[1]}"
        )
    max_abs = float(np.abs(outputs.values - expected.values).max())
    max_lsb = None if outputs.lsb is None else max_abs / outputs.lsb
    figures = figures_of(expected, outputs)
    right = lost = None
    if labels is not None:
        right = outputs.values.argmax(1) == labels
        lost = loss(expected.values.argmax(1) == labels, right)
    row = find_engine(engine)
    same = against.file is not None and against.file.file == candidate.file
    if same and against.name == REFERENCE_KERNELS and max_lsb is not None and recipe.name in row.max_lsb:
        stated, failures = hold_steps(row.max_lsb[recipe.name], row.reason, max_lsb)
        if failures:  # a step adds up behind further layers, and how far is the network's
            further, failures = hold(recipe.between_engines, figures)
            stated = f"{stated}; beyond that, {further}"
    else:
        recipes = [recipe] if against.file is None else [recipe, against.file.recipe]
        loosest = min((each.tolerance for each in recipes), key=lambda tolerance: tolerance.sqnr_db)
        tolerance = recipe.between_engines if same else loosest
        stated, failures = hold(tolerance, figures)
        if failures and recipe.name != "float32" and (predicted := originals.predicted(candidate)) is not None:
            stated, failures = hold_predicted(tolerance, figures, predicted, lost)
    original = originals.of(candidate) if held else None
    if original is not None:
        failures += original.failures
    notes = originals.notes if against.name == "keras" else ()
    if held and original is None and against.name == "keras":
        notes = (*notes, "constants and operations are not held: none has a name of the model's")
    return Parity(
        file=str(candidate.path),
        reference=against.name,
        engine=engine,
        recipe=recipe.name,
        images=len(expected.values),
        max_abs=max_abs,
        max_lsb=max_lsb,
        sqnr_db=figures.sqnr_db,
        top1_agreement=figures.agreement,
        accuracy=None if right is None else float(np.mean(right)),
        loss=lost,
        weight_steps=None if original is None else original.weights.steps,
        failures=failures,
        tolerance="; ".join((stated, *notes)),
        machine=machine_name(),
        note=outputs.note if recipe.rounds_activations else "",
    )


def _check_range(images: np.ndarray, file: Path | str) -> None:
    """Hold images against what the manifest beside a file says that it takes: other pixels agree on nothing."""
    preprocessing = preprocessing_of_manifest(file)
    if preprocessing is not None and len(images):
        origin = Origin(preprocessing, f"the manifest of {file}")
        check_range(images, origin, what="images", remedy="scale them, or export it again with preprocessing=")


def _check_images(images, shape, what) -> None:
    if len(images) == 0:
        raise InputError("parity needs at least one image; there are none")
    if images.shape[1:] != tuple(shape):
        raise InputError(f"images for {what} must have the shape (n, {', '.join(map(str, shape))}); got {images.shape}")
