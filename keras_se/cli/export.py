"""Command `keras-se export`: a trained Keras model and a target in, .tflite files with their manifests out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import Positional

from keras_se.cli.command import Group, left_out
from keras_se.cli.image_options import ImageOptions
from keras_se.cli.model_input import ModelInput
from keras_se.cli.tables import Rows
from keras_se.errors import InputError

if TYPE_CHECKING:
    from keras_se.export import Artifact
    from keras_se.export.precision_search import Search
    from keras_se.preprocessing import Origin


_SEARCH = Group("of a search for the operations that need more bits")
_SCORES = Group("of the target mediapipe")


@dataclass(frozen=True)
class Export(ModelInput, ImageOptions):
    """Convert a trained model to .tflite files, with a manifest beside each."""

    example: ClassVar[str] = "keras-se export run/model.keras --data photos/ --out files --target phone_cpu"

    model: Positional[Path]
    """Path of a .keras file; its run.json is read where there is one."""
    out: Path
    """Folder for the files."""
    data: Annotated[str | None, left_out("none", metavar="SOURCE")] = None
    """Where calibration images come from, as in `train`; static recipes need it."""
    recipes: Annotated[
        tuple[str, ...] | None, left_out("these first five, but for what the target refuses", metavar="NAME …")
    ] = None
    """Number formats: float32, float16, dynamic_wi8_afp32, static_wi8_ai8, static_wi8_ai16, weight_only_wi8_afp32,
    static_wi8_ai8_se_ai16, static_wi8_ai8_se_fp32, static_wi8_ai8_first_last_fp32."""
    bias_correction: bool = False
    """Correct the biases of files with 8-bit weights for the shift that rounding gives each layer's mean output."""
    search: Annotated[bool, _SEARCH] = False
    """Make one file instead: int8, with as few operations in more bits as --max-drop asks for. Exit status 1 when not
    even all of them suffice; the best file is written all the same."""
    max_drop: Annotated[float, _SEARCH] = 0.5
    """Percentage points of top-1 that a search may lose against the float file."""
    higher_precision: Annotated[str | None, left_out("fp32; for tflite_micro ai16", metavar="NAME"), _SEARCH] = None
    """Format of the operations that a search takes out of int8: fp32, or ai16 (int16 activations)."""
    test_images: int = 1000
    """Test images that a search measures the loss on, and that scores are calibrated on."""
    calibrate_scores: Annotated[bool, _SCORES] = False
    """Fit the sigmoid that makes probabilities of the network's scores, which apps then show."""
    target: str = "phone_cpu"
    """Device, as phone_cpu, mediapipe, tflite_micro or ethos_u65_512; a wrong name lists all. It refuses the
    recipes that it cannot run."""
    io: Annotated[str | None, left_out("the target's own", metavar="NAME")] = None
    """Type of an integer file's input and output: int8, or uint8, which Coral's examples read; for edgetpu."""
    batch: int = 1
    """Images that a file takes at a time; some targets take one."""
    images: int = 200
    """Training images to calibrate on."""
    calibration_method: str = "min_max"
    """Rule for the ranges of activations: min_max (all that occurs), percentile (but for 0.01 %), mse (the least
    squared error in 8 bits) or moving_average (the quantizer's own rule, which clips)."""

    def run(self) -> Rows:
        from keras_se.export import export
        from keras_se.export.compatibility.arena import check_arena
        from keras_se.export.conversion.converter import check_backend, load_model
        from keras_se.export.conversion.known_input import with_input_shape
        from keras_se.export.quantization.image_range import check_accuracy
        from keras_se.export.quantization.observers import find_method
        from keras_se.export.quantization.recipes import find_recipe
        from keras_se.export.targets.registry import find_target
        from keras_se.export.tflite.score_calibration import fit_scores

        check_backend()
        find_method(self.calibration_method)
        if self.search:
            return self._search()
        device = find_target(self.target)
        if self.calibrate_scores and not (device.calibrates_scores and self.data is not None):
            raise InputError(
                "--calibrate-scores is for --target mediapipe and needs labelled images in --data; got "
                f"--target {self.target} and {'no ' if self.data is None else ''}--data"
            )
        recipes = device.default_recipes if self.recipes is None else self.recipes
        model = load_model(self.model)
        input_shape = self.input_shape_of(model)
        model = with_input_shape(model, input_shape)
        check_arena(model, device, [find_recipe(name) for name in recipes])  # before so large images
        origin = self.origin(model, self.model)
        preprocessing, calibration = origin.preprocessing, None
        if self.data is not None:
            calibration, labels = self.sample(self.data, preprocessing, "train", self.images)
            check_accuracy(model, calibration, labels, origin)
        scores = None
        if self.calibrate_scores and self.data is not None:
            images, labels = self.sample(self.data, preprocessing, "test", self.test_images)
            scores = fit_scores(model.predict(images, verbose=0), labels)  # pyright: ignore[reportArgumentType]
        artifacts = export(
            self.model,
            self.out,
            recipes=recipes,
            target=self.target,
            calibration=calibration,
            calibration_method=self.calibration_method,
            bias_correction=self.bias_correction,
            preprocessing=preprocessing,
            input_shape=input_shape,
            score_calibration=scores,
            io=self.io,
            batch=self.batch,
        )
        files = [_document(artifact) for artifact in artifacts]
        return Rows(
            document=files,
            columns=("file", "bytes", "takes", "gives"),  # its name ends with the recipe
            cells=[
                (artifact.path.name, f"{file['bytes']:,}", file["input_type"], file["output_type"])
                for artifact, file in zip(artifacts, files, strict=True)
            ],
            notes=(_pixels_line(origin), *self._what_next(files, calibrated=scores is not None)),
        )

    def _what_next(self, files: list[dict[str, Any]], *, calibrated: bool) -> list[str]:
        lines = [f"files are in {self.out}, each with its manifest, FILE.json, beside it"]
        if self.target == "mediapipe" and not calibrated:
            lines.append("scores are the network's own, not calibrated: --calibrate-scores makes probabilities of them")
        if self.data is not None and self.target in ("phone_cpu", "mediapipe", "browser", "openvino"):
            lines.append(f"next: keras-se evaluate {files[0]['path']} --data {self.data}")
        else:
            lines.append(f"next: keras-se report {self.out}")
        return lines

    def _search(self) -> Rows:
        from keras_se.export.conversion.converter import load_model
        from keras_se.export.conversion.known_input import with_input_shape
        from keras_se.export.evaluation.paired_interval import METHOD
        from keras_se.export.mixed_precision import export_mixed_precision

        if self.bias_correction or self.calibrate_scores or self.io is not None or self.batch != 1:
            raise InputError(
                "--search makes plain files; leave out --bias-correction, --calibrate-scores, --io and --batch"
            )
        if self.recipes is not None:
            raise InputError(f"--search makes one file of its own; leave out --recipes; got {list(self.recipes)}")
        if self.data is None:
            raise InputError("--search needs images to calibrate on and labelled ones to measure on; give --data")
        if self.max_drop < 0:
            raise InputError(f"max_drop must be at least 0 percentage points; got {self.max_drop}")
        model = load_model(self.model)
        input_shape = self.input_shape_of(model)
        origin = self.origin(with_input_shape(model, input_shape), self.model)
        calibration, _ = self.sample(self.data, origin.preprocessing, "train", self.images)
        images, labels = self.sample(self.data, origin.preprocessing, "test", self.test_images)
        artifact, search = export_mixed_precision(
            self.model,
            self.out,
            calibration=calibration,
            images=images,
            labels=labels,
            max_drop=self.max_drop,
            higher_precision=self.higher_precision,
            target=self.target,
            calibration_method=self.calibration_method,
            preprocessing=origin.preprocessing if self.preprocessing_fields else None,
            input_shape=input_shape,
        )
        outcome = f"loses {search.loss} points of {100 * search.float_accuracy:.2f} % on {len(images)} test images"
        bound = "within" if search.reached else "NOT known to be within"
        return Rows(
            document=[{**_document(artifact), "search": artifact.manifest["search"]}],
            columns=("ranked operations not in int8", "top-1 %", "points lost", "95 %"),
            cells=[
                (
                    str(step.ops_in_higher_precision),
                    f"{100 * step.accuracy:.2f}",
                    f"{step.drop:.2f}",
                    f"{step.low:.2f} to {step.high:.2f}",
                )
                for step in search.steps
            ],
            notes=(
                f"{artifact.path} {outcome}, {bound} {self.max_drop:g}; "
                f"{len(search.ops_in_higher_precision)} operations in {search.higher_precision}",
                f"interval: {METHOD}; a step is accepted by its upper end",
                *_images_needed(search),
                _pixels_line(origin),
            ),
            status=0 if search.reached else 1,
        )


def _images_needed(search: "Search") -> list[str]:
    if search.reached:
        return []
    if search.images_needed is None:
        return [f"these images lose {search.drop:.2f} points: more of them would not show less"]
    return [f"if more come out as these, {search.images_needed:,} images would show it: --test-images"]


def _pixels_line(origin: "Origin") -> str:
    """Say what pixels an exported file takes, and why."""
    low, high = origin.preprocessing.input_range
    reason = origin.reason or "as nothing tells; else say --input-range"
    return f"pixels from {low:g} to {high:g}, {'by ' if origin.reason else ''}{reason}"


def _document(artifact: "Artifact") -> dict[str, Any]:
    facts = ("bytes", "sha256", "input_type", "output_type")
    return {
        "path": str(artifact.path),
        "recipe": artifact.recipe,
        "target": artifact.target,
        **{name: artifact.manifest[name] for name in facts},
    }
