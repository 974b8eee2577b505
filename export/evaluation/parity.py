"""The same images through two forms of a network: numbers and a verdict.

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
(`keras_se.export.runtimes.registry`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.export.conversion.converter import in_float32, load_model, to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.conversion.lowering_config import LOWERINGS, LoweringConfig
from keras_se.export.conversion.matching import effective_config
from keras_se.export.evaluation.noise_prediction import with_roundings
from keras_se.export.evaluation.paired_interval import Loss, highest_share, loss
from keras_se.export.manifest import form_of_manifest, lowering_of, preprocessing_of_manifest
from keras_se.export.qat.freezing import freeze_ranges, is_quantization_aware
from keras_se.export.qat.strip_fake_quant import strip_fake_quant
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.image_range import check_range
from keras_se.export.quantization.recipe_detection import recipe_of
from keras_se.export.quantization.recipes import Tolerance
from keras_se.export.runtimes.base import Outputs
from keras_se.export.runtimes.keras_model import run_keras
from keras_se.export.runtimes.litert import REFERENCE_KERNELS
from keras_se.export.runtimes.registry import DEFAULT_ENGINES, ENGINES, find_engine, run_file
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.constants import WeightError, other_operation, weight_error
from keras_se.preprocessing import Origin

PREDICTED_NOISE = 2
"""Times the amplitude of the predicted noise: integer kernels round sums and products too, which is not predicted."""
LEAST_AGREEMENT = 0.9
"""Share of the images with Keras's class, where only the prediction's bounds hold and there are no labels."""
LEAST_SQNR = 3.0
"""Decibels, whatever is predicted: noise of half the signal's power. An int8 output that is one integer for every class
would agree with each of them."""
MOST_LOST = 1.0
"""Points of accuracy, where only the prediction's bounds hold."""

# Of a constant, in steps: half a step, and that the quantizer rounded a float32 quotient.
_ROUNDING = 0.51


@dataclass(frozen=True)
class Parity:
    """How far a candidate is from its reference, on the logits of the same images."""

    file: str
    reference: str
    """"keras", or "litert_reference": the same file on LiteRT's reference kernels."""
    engine: str
    recipe: str
    """Of the candidate's file, read off its types."""
    images: int
    max_abs: float
    """Greatest difference of a logit."""
    max_lsb: float | None
    """The same, in steps of the candidate's output; None for a float output."""
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
    """The bounds that do not hold, each with the figure; empty when all do."""
    tolerance: str
    """The bounds and their reason."""
    note: str = ""
    """What an app must do to get these numbers on this processor; empty where nothing is to be done."""

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
) -> Parity:
    """Run the same images through both and hold the difference against its tolerance.

    A Keras reference is held against the tolerance of the candidate's recipe, and the candidate's constants and
    operations to the model's own, in the form that the candidate's manifest tells. A .tflite reference runs on
    LiteRT's reference kernels, and the difference is the engine's own: in steps of the output for an integer file.

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
    candidate = Path(candidate)
    _check_range(images, candidate)
    got = _run_file(candidate, images, engine)
    if isinstance(reference, keras.Model) or Path(reference).suffix != ".tflite":
        model = reference if isinstance(reference, keras.Model) else load_model(reference)
        originals = _Originals(model, images, _run_model(model, images), float_file)
        against = _Reference("keras", originals.outputs)
    else:
        originals = _Originals(None, images, None, float_file)
        against = _Reference(REFERENCE_KERNELS, _run_file(Path(reference), images, REFERENCE_KERNELS))
    return _parity(against, got, candidate, engine, labels, originals, hold=True)


def compare_all(
    reference: keras.Model | Path | str,
    files: Sequence[Path | str],
    images: np.ndarray,
    *,
    engines: Sequence[str] | None = None,
    labels: np.ndarray | None = None,
) -> list[Parity]:
    """Compare every file on every engine with the Keras model, and integer files with the reference kernels too.

    The constants and operations of each file are held to those of the model in the file's form.

    Args:
        reference: a Keras model, or the path of a `.keras` file.
        files: paths of `.tflite` files.
        images: float32 `(n, height, width, channels)`, as the network sees them.
        engines: names; None for each of `keras_se.export.runtimes.registry.DEFAULT_ENGINES` that can run the file.
        labels: int `(n,)`, for the accuracy.
    Returns:
        A row for each file and engine, and a further one for each integer file against the reference kernels.
    Raises:
        InputError: as `compare`.
    Example:
        >>> rows = compare_all("run/model.keras", ["files/se_mobilenet.float32.tflite"], images, engines=["litert"])
        >>> [(row.recipe, row.engine, row.verdict) for row in rows]
        [('float32', 'litert', 'pass')]
    """
    check_files(files, engines)
    _check_labels(labels, images)
    model = reference if isinstance(reference, keras.Model) else load_model(reference)
    originals = _Originals(model, images, _run_model(model, images))
    recipes = {Path(file): recipe_of(flatbuffer.load(file)).name for file in files}
    rows = []
    for file in recipes:
        _check_range(images, file)
    for file, recipe in recipes.items():
        names = engines or [name for name in DEFAULT_ENGINES if recipe not in ENGINES[name].unsupported_recipes]
        outputs = {name: _run_file(file, images, name) for name in names}
        against = _Reference("keras", originals.outputs)
        rows += [_parity(against, got, file, name, labels, originals, hold=True) for name, got in outputs.items()]
        kernels = outputs.pop(REFERENCE_KERNELS, None)
        if kernels is not None and kernels.lsb is not None:
            against = _Reference(REFERENCE_KERNELS, kernels)
            rows += [_parity(against, got, file, name, labels, originals, hold=False) for name, got in outputs.items()]
    return rows


class _Reference(NamedTuple):
    """What a candidate is compared with."""

    name: str
    outputs: Outputs


class _Figures(NamedTuple):
    """How far outputs are from others."""

    error: float
    """The greatest difference, over the greatest magnitude of a reference logit."""
    sqnr_db: float
    agreement: float
    images: int


class _Original(NamedTuple):
    """The float file that a candidate is held to, and how well it keeps to that."""

    content: bytes
    weights: WeightError
    failures: tuple[str, ...]


class _Originals:
    """The float files of a model, made when a candidate needs one, and what their arithmetic can do with roundings."""

    def __init__(
        self,
        model: keras.Model | None,
        images: np.ndarray,
        outputs: Outputs | None,
        float_file: Path | str | None = None,
    ):
        self.outputs: Any = outputs
        self._model, self._images = model, images
        self._given = None if float_file is None else (lowering_of(float_file), flatbuffer.load(float_file))
        self._converted: dict[LoweringConfig, bytes] = {}
        self._found: dict[Path, _Original | None] = {}
        self._predicted: dict[Path, _Figures | None] = {}
        self.notes = () if model is None else _precision(model)

    def of(self, file: Path) -> _Original | None:
        """The one that the file was made from; None where none is at hand, or no constant has the name of one in it."""
        if file not in self._found:
            self._found[file] = self._sought(file)
        return self._found[file]

    def _sought(self, file: Path) -> _Original | None:
        lowering, best = form_of_manifest(file), None
        for content in self._candidates(lowering):
            found = _held(content, flatbuffer.load(file))
            if not found.failures:
                return found
            if best is None or found.weights.compared > best.weights.compared:
                best = found
        foreign = lowering is None and self._given is None
        return None if best is None or (foreign and best.weights.compared == 0) else best

    def _candidates(self, lowering: LoweringConfig | None) -> Iterator[bytes]:
        """Float files of the form; of any, where it is not known: a wrong constant is wrong in each."""
        if self._given is not None and lowering in (None, self._given[0]):
            yield self._given[1]
            if lowering is not None:
                return
        if self._model is not None:
            for one in dict.fromkeys(
                effective_config(self._model, one) for one in (LOWERINGS if lowering is None else (lowering,))
            ):
                yield self._own(one)

    def _own(self, lowering: LoweringConfig) -> bytes:
        model: Any = self._model
        if lowering not in self._converted:
            if is_quantization_aware(model):
                self._converted[lowering] = strip_fake_quant(to_tflite(freeze_ranges(model)))[0]
            else:
                self._converted[lowering] = to_tflite(lower(model, lowering))
        return self._converted[lowering]

    def predicted(self, file: Path) -> _Figures | None:
        """How far the float network with the file's roundings is from the model; None where that is not known."""
        if file not in self._predicted:
            original = self.of(file)
            if original is None or original.failures or self.outputs is None:
                self._predicted[file] = None
            else:
                self._predicted[file] = self._rounded(file, flatbuffer.without_softmax(original.content))
        return self._predicted[file]

    def _rounded(self, file: Path, content: bytes) -> _Figures:
        ranges = calibrate(content, self._images)
        rounded = with_roundings(content, flatbuffer.load(file), ranges)
        return _figures(self.outputs, run_file("litert", rounded, self._images, f"{file}, its roundings in float"))


def _held(original: bytes, candidate: bytes) -> _Original:
    weights = weight_error(original, candidate)
    failures = _hold_weights(weights)
    if weights.compared and (other := other_operation(original, candidate)):
        failures += (other,)
    return _Original(original, weights, failures)


def _precision(model: keras.Model) -> tuple[str, ...]:
    names = sorted({layer.compute_dtype for layer in model._flatten_layers(include_self=False)} - {"float32"})
    return (f"the model, of {', '.join(names)}, computes in float32 here, as its files do",) if names else ()


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
        find_engine(name)
    for file in files:
        flatbuffer.load(file)


def _check_labels(labels: np.ndarray | None, images: np.ndarray) -> None:
    if labels is not None and np.shape(labels) != (len(images),):
        raise InputError(f"labels must be one number of a class an image, ({len(images)},); got {np.shape(labels)}")


def _run_model(model: keras.Model, images: np.ndarray) -> Outputs:
    _check_images(images, model.input_shape[1:], "the model")
    return run_keras(in_float32(model), images)


def _run_file(path: Path, images: np.ndarray, name: str) -> Outputs:
    engine, content = find_engine(name), flatbuffer.load(path)
    if (recipe := recipe_of(content).name) in engine.unsupported_recipes:
        raise InputError(f"engine {name} cannot run {recipe} files; got {path}")
    if (ends := flatbuffer.ends(content)) != (1, 1):
        raise InputError(f"{path} must take one image and give one output; it has {ends[0]} and {ends[1]}")
    _check_images(images, flatbuffer.input_shape(content)[1:], path)
    return run_file(name, content, images, path)


def _parity(
    against: _Reference, got: Outputs, file: Path, engine: str, labels, originals: _Originals, *, hold: bool
) -> Parity:
    expected = against.outputs
    if got.values.shape != expected.values.shape:
        raise InputError(
            f"{file} must have the reference's {expected.values.shape[1]} outputs; it has {got.values.shape[1]}"
        )
    recipe = recipe_of(flatbuffer.load(file))
    max_abs = float(np.abs(got.values - expected.values).max())
    max_lsb = None if got.lsb is None else max_abs / got.lsb
    figures = _figures(expected, got)
    right = lost = None
    if labels is not None:
        right = got.values.argmax(1) == labels
        lost = loss(expected.values.argmax(1) == labels, right)
    row = find_engine(engine)
    if against.name == REFERENCE_KERNELS and max_lsb is not None and recipe.name in row.max_lsb:
        stated, failures = _hold_steps(row.max_lsb[recipe.name], row.reason, max_lsb)
    else:
        tolerance = recipe.tolerance if against.name == "keras" else recipe.between_engines
        stated, failures = _hold(tolerance, figures)
        if failures and recipe.name != "float32" and (predicted := originals.predicted(file)) is not None:
            stated, failures = _hold_predicted(tolerance, figures, predicted, lost)
    original = originals.of(file) if hold else None
    if original is not None:
        failures += original.failures
    notes = originals.notes if against.name == "keras" else ()
    if hold and original is None and against.name == "keras":
        notes = (*notes, "constants and operations are not held: none has a name of the model's")
    return Parity(
        file=str(file),
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
        note=got.note if recipe.rounds_activations else "",
    )


def _figures(expected: Outputs, got: Outputs) -> _Figures:
    error = np.abs(got.values - expected.values)
    relative = _relative(float(error.max()), float(np.abs(expected.values).max()))
    return _Figures(
        relative, _decibels(np.sum(expected.values**2), np.sum(error**2)), _agreement(expected, got), len(error)
    )


def _check_range(images, file: Path) -> None:
    """Hold images against what the manifest beside a file says that it takes: other pixels agree on nothing."""
    said = preprocessing_of_manifest(file)
    if said is not None and len(images):
        origin = Origin(said, f"the manifest of {file}")
        check_range(images, origin, what="images", remedy="scale them, or export it again with preprocessing=")


def _check_images(images, shape, what) -> None:
    if len(images) == 0:
        raise InputError("parity needs at least one image; there are none")
    if images.shape[1:] != tuple(shape):
        raise InputError(f"images for {what} must have the shape (n, {', '.join(map(str, shape))}); got {images.shape}")


def _agreement(expected: Outputs, got: Outputs) -> float:
    """Two classes that the integer output cannot tell apart agree with either."""
    chosen = np.take_along_axis(got.values, expected.values.argmax(1)[:, None], axis=1)[:, 0]
    return float(np.mean(chosen >= got.values.max(1)))


def _relative(error: float, greatest: float) -> float:
    """Of a reference that is 0 throughout any error is infinitely large, and none is 0."""
    return error / greatest if greatest else (float("inf") if error else 0.0)


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")


def _hold(tolerance: Tolerance, figures: _Figures) -> tuple[str, tuple[str, ...]]:
    error, sqnr_db, agreement, images = figures
    bounds = [
        (sqnr_db >= tolerance.sqnr_db, f"SQNR {sqnr_db:.1f} dB", f"at least {tolerance.sqnr_db:.3g}"),
        (
            highest_share(agreement, images) >= tolerance.agreement,
            f"top-1 agreement {agreement:.3f} of {images} images",
            f"surely below {tolerance.agreement:g}",
        ),
    ]
    stated = (
        f"SQNR at least {tolerance.sqnr_db:.3g} dB, top-1 agreement not surely below {tolerance.agreement:g}: "
        f"{tolerance.reason}"
    )
    if (greatest := tolerance.error) is not None:
        bounds.insert(0, (error <= greatest, f"error {error:.2g} of the largest logit", f"at most {greatest:.2g}"))
        stated = f"error at most {greatest:.2g} of the largest logit, {stated}"
    return stated, tuple(f"{figure}, {bound}" for holds, figure, bound in bounds if not holds)


def _hold_predicted(
    tolerance: Tolerance, figures: _Figures, predicted: _Figures, lost: Loss | None
) -> tuple[str, tuple[str, ...]]:
    """Hold a network that its recipe cannot serve as well as most to what the recipe can do for it."""
    labelled = lost is not None
    allowed = Tolerance(
        None,
        min(tolerance.sqnr_db, max(LEAST_SQNR, predicted.sqnr_db - 20 * np.log10(PREDICTED_NOISE))),
        0.0 if labelled else min(tolerance.agreement, LEAST_AGREEMENT),
        f"{PREDICTED_NOISE} times the noise of the float network with the file's roundings, which has "
        f"{predicted.sqnr_db:.1f} dB",
    )
    stated, failures = _hold(allowed, figures)
    if not labelled:
        return stated, failures
    if lost.low > MOST_LOST:
        failures += (f"accuracy lost {lost} points, of which {MOST_LOST:g} may be sure",)
    return f"{stated}; at most {MOST_LOST:g} point of accuracy surely lost, at the interval's lower end", failures


def _hold_steps(steps: int, reason: str, max_lsb: float) -> tuple[str, tuple[str, ...]]:
    # Dequantized values are compared; a hundredth of a step is their rounding.
    failures = () if max_lsb <= steps + 0.01 else (f"{max_lsb:.2f} LSB, at most {steps}",)
    return f"at most {steps} LSB: {reason}", failures


def _hold_weights(weights: WeightError) -> tuple[str, ...]:
    if weights.compared == 0:
        return ("no constant has the name of one in the float file",)
    if weights.steps > _ROUNDING:
        return (f"a constant {weights.steps:.3g} steps from the model's, at most {_ROUNDING}: {weights.tensor}",)
    return ()
