"""The same images through two forms of a network: numbers and a verdict."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.export import flatbuffer
from keras_se.export.convert import load_model, to_tflite
from keras_se.export.engines import ENGINES, REFERENCE_KERNELS, USUAL, Outputs, find_engine, run_file, run_keras
from keras_se.export.lowering import lowered
from keras_se.export.recipes import Tolerance
from keras_se.export.recognition import recipe_of
from keras_se.export.records import form_of
from keras_se.export.weights import WeightError, weight_error

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
    weight_steps: float | None
    """Greatest difference of a constant from the float file's, in steps of its own scale; None without that file."""
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

    A Keras reference is held against the tolerance of the candidate's recipe. A .tflite reference runs on LiteRT's
    reference kernels, and the difference is the engine's own: in steps of the output for an integer file.

    Args:
        reference: a Keras model, or the path of a `.keras` or a `.tflite` file.
        candidate: the path of a `.tflite` file.
        images: float32 `(n, height, width, channels)`, as the network sees them.
        engine: what runs the candidate: "litert" (XNNPACK), "litert_reference", "tflm" or "openvino".
        labels: int `(n,)`, for the accuracy.
        float_file: the float32 `.tflite` file that the candidate was quantized from. With it each constant must be
            its original, rounded: one wrong weight, which drowns in the rounding of 8-bit logits, fails.
    Raises:
        InputError: a file cannot be read, the engine is unknown or cannot run the file, or the shapes do not fit.
    """
    _check_labels(labels, images)
    candidate = Path(candidate)
    got = _run_file(candidate, images, engine)
    if isinstance(reference, keras.Model) or Path(reference).suffix != ".tflite":
        expected, name = _run_model(reference, images), "keras"
    else:
        expected, name = _run_file(Path(reference), images, REFERENCE_KERNELS), REFERENCE_KERNELS
    original = None if float_file is None else flatbuffer.load(float_file)
    return _parity(expected, got, candidate, name, engine, labels, original)


def compare_all(
    reference: keras.Model | Path | str,
    files: Sequence[Path | str],
    images: np.ndarray,
    *,
    engines: Sequence[str] | None = None,
    labels: np.ndarray | None = None,
) -> list[Parity]:
    """Every file on every engine against the Keras model, and integer files also against the reference kernels.

    If one of the files is the float32 one, the constants of the others are held to its own, or, where theirs is another
    form, to those of the model in that form.

    Args:
        engines: names; None for each of `keras_se.export.engines.USUAL` that can run the file.
    Raises:
        InputError: as `compare`.
    """
    check_files(files, engines)
    _check_labels(labels, images)
    model = reference if isinstance(reference, keras.Model) else load_model(reference)
    expected = _run_model(model, images)
    recipes = {Path(file): recipe_of(flatbuffer.load(file)).name for file in files}
    float_file = next((file for file, recipe in recipes.items() if recipe == "float32"), None)
    rows = []
    for file, recipe in recipes.items():
        original = None
        if float_file is not None:
            form = form_of(file)
            same = form == form_of(float_file)
            original = flatbuffer.load(float_file) if same else to_tflite(lowered(model, form))
        names = engines or [name for name in USUAL if recipe not in ENGINES[name].refuses]
        outputs = {name: _run_file(file, images, name) for name in names}
        rows += [_parity(expected, got, file, "keras", name, labels, original) for name, got in outputs.items()]
        kernels = outputs.pop(REFERENCE_KERNELS, None)
        if kernels is not None and kernels.lsb is not None:
            rows += [
                _parity(kernels, got, file, REFERENCE_KERNELS, name, labels, None) for name, got in outputs.items()
            ]
    return rows


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


def _run_model(reference: keras.Model | Path | str, images: np.ndarray) -> Outputs:
    model = reference if isinstance(reference, keras.Model) else load_model(reference)
    _check_images(images, model.input_shape[1:], "the model")
    return run_keras(model, images)


def _run_file(path: Path, images: np.ndarray, name: str) -> Outputs:
    engine, content = find_engine(name), flatbuffer.load(path)
    if (recipe := recipe_of(content).name) in engine.refuses:
        raise InputError(f"engine {name} cannot run {recipe} files; got {path}")
    if (ends := flatbuffer.ends(content)) != (1, 1):
        raise InputError(f"{path} must take one image and give one output; it has {ends[0]} and {ends[1]}")
    _check_images(images, flatbuffer.input_shape(content)[1:], path)
    return run_file(name, content, images, path)


def _parity(expected: Outputs, got: Outputs, file: Path, reference: str, engine: str, labels, original) -> Parity:
    if got.values.shape != expected.values.shape:
        raise InputError(
            f"{file} must have the reference's {expected.values.shape[1]} outputs; it has {got.values.shape[1]}"
        )
    recipe = recipe_of(flatbuffer.load(file))
    error = np.abs(got.values - expected.values)
    max_abs = float(error.max())
    max_lsb = None if got.lsb is None else max_abs / got.lsb
    agreement = _agreement(expected, got)
    sqnr_db = _decibels(np.sum(expected.values**2), np.sum(error**2))
    row = find_engine(engine)
    if reference == REFERENCE_KERNELS and max_lsb is not None and recipe.name in row.steps:
        stated, failures = _hold_steps(row.steps[recipe.name], row.reason, max_lsb)
    else:
        tolerance = recipe.tolerance if reference == "keras" else recipe.between_engines
        relative = _relative(max_abs, float(np.abs(expected.values).max()))
        stated, failures = _hold(tolerance, relative, sqnr_db, agreement)
    weights = None if original is None else weight_error(original, flatbuffer.load(file))
    if weights is not None:
        failures += _hold_weights(weights)
    return Parity(
        file=str(file),
        reference=reference,
        engine=engine,
        recipe=recipe.name,
        images=len(expected.values),
        max_abs=max_abs,
        max_lsb=max_lsb,
        sqnr_db=sqnr_db,
        top1_agreement=agreement,
        accuracy=None if labels is None else float(np.mean(got.values.argmax(1) == labels)),
        weight_steps=None if weights is None else weights.steps,
        failures=failures,
        tolerance=stated,
        note=got.note if recipe.rounds_activations else "",
    )


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


def _hold(tolerance: Tolerance, error: float, sqnr_db: float, agreement: float) -> tuple[str, tuple[str, ...]]:
    bounds = (
        (error <= tolerance.error, f"error {error:.2g} of the largest logit", f"at most {tolerance.error:g}"),
        (sqnr_db >= tolerance.sqnr_db, f"SQNR {sqnr_db:.1f} dB", f"at least {tolerance.sqnr_db:g}"),
        (agreement >= tolerance.agreement, f"top-1 agreement {agreement:.3f}", f"at least {tolerance.agreement:g}"),
    )
    stated = (
        f"error at most {tolerance.error:g} of the largest logit, SQNR at least {tolerance.sqnr_db:g} dB, "
        f"top-1 agreement at least {tolerance.agreement:g}: {tolerance.reason}"
    )
    return stated, tuple(f"{figure}, {bound}" for holds, figure, bound in bounds if not holds)


def _hold_steps(steps: int, reason: str, max_lsb: float) -> tuple[str, tuple[str, ...]]:
    # Dequantized values are compared; a hundredth of a step is their rounding.
    failures = () if max_lsb <= steps + 0.01 else (f"{max_lsb:.2f} LSB, at most {steps}",)
    return f"at most {steps} LSB: {reason}", failures


def _hold_weights(weights: WeightError) -> tuple[str, ...]:
    if weights.compared == 0:
        return ("no constant has the name of one in the float file",)
    if weights.steps > _ROUNDING:
        return (f"a constant {weights.steps:.3g} steps from the float file's, at most {_ROUNDING}: {weights.tensor}",)
    return ()
