"""The commands, each a dataclass whose fields are its options and whose `run` gives a table."""

import contextlib
import dataclasses
import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from keras_se.cli.tables import Rows, parity_rows
from keras_se.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options of every command."""

    json: bool = False
    """One JSON document on standard output, and nothing else there."""
    imports: Annotated[UseAppendAction[tuple[str, ...]], arg(name="import", metavar="MODULE")] = ()
    """A module to import first, which registers a model's own layers with keras.saving.register_keras_serializable. It
    is found as `python -m MODULE` finds it; the option may be given several times."""
    debug: bool = False
    """Show the trace of an error too."""


@dataclass(frozen=True, kw_only=True)
class _OfPixels(Common):
    """What commands that take images for a network of anyone's have in common."""

    input_range: tuple[float, float] | None = None
    """The least and greatest value that the network takes for a pixel, as 0 255 or -1 1; by default what the run's
    record says, or the network's own layers, else 0 1."""
    mean: tuple[float, ...] | None = None
    """Or what is subtracted from pixels in 0..1: one number, or one each for red, green and blue."""
    std: tuple[float, ...] | None = None
    """And what they are then divided by."""

    def origin(self, model: Any, path: Path) -> Any:
        """The preprocessing that the options ask for, else that of the model in a file, and what says so.

        Raises:
            InputError: the options are too many or no preprocessing, or the model's record is damaged.
        """
        from keras_se.preprocessing import (
            Origin,
            Preprocessing,
            find_preprocessing,
            image_shape,
            recorded_preprocessing,
        )

        asked = self.asked
        if not asked:
            return find_preprocessing(model, path)
        height, width, _ = image_shape(model)
        recorded = recorded_preprocessing(path)
        fields = {"height": height, "width": width} if recorded is None else dataclasses.asdict(recorded)
        return Origin(Preprocessing(**{**fields, **asked}), "the options")

    @property
    def asked(self) -> dict[str, Any]:
        """The fields of a `Preprocessing` that the options give."""
        from keras_se.layers.image_input import fields_for_range

        if self.input_range is not None:
            if self.mean is not None or self.std is not None:
                raise InputError("--input-range says what --mean and --std say; give it alone")
            return fields_for_range(*self.input_range)
        if self.mean is None and self.std is None:
            return {}
        given = {"mean": self.mean or (0.0,), "std": self.std or (1.0,)}
        for name, values in given.items():
            if len(values) not in (1, 3):
                raise InputError(f"--{name} takes one number, or three for red, green and blue; got {len(values)}")
            if not all(map(math.isfinite, values)) or (name == "std" and min(values) <= 0):
                bound = " above 0" if name == "std" else ""
                raise InputError(f"--{name} takes finite numbers{bound}; got {' '.join(map(str, values))}")
        return {name: values * (3 // len(values)) for name, values in given.items()}


@dataclass(frozen=True)
class Models(Common):
    """List the models: trainable parameters, multiply-accumulates of one image, published error, published weights."""

    pattern: Positional[str] = "*"
    """Shell-style pattern of names, as 'se_resnet*'."""
    markdown: bool = False
    """The table as Markdown."""

    def run(self) -> Rows:
        from keras_se.progress import track
        from keras_se.registry import find, size_of
        from keras_se.weights.timm_mapping import list_weights

        names = _known(self.pattern)
        found = []
        for name in track(names, f"Building {len(names)} models", total=len(names)):
            parameters, macs = size_of(name)
            sizes = {"name": name, "parameters": parameters, "macs": macs}
            found.append({**sizes, "error": find(name).error, "weights": list_weights(name)})
        return Rows(
            document=found,
            columns=("model", "parameters", "MACs", "top-1 error %", "weights"),
            cells=[_model_cells(one, every_weight=self.markdown) for one in found],
        )


@dataclass(frozen=True)
class Train(Common):
    """Train a model into a run folder: model.keras, run.json, history.csv, tensorboard/."""

    data: str
    """digits, fashion_mnist, mnist, cifar10, cifar100, or a folder of class folders."""
    out: Path
    """The run's folder."""
    model: str | None = None
    """A name from `keras-se models`; not needed where the weights are a run's or one of timm's."""
    weights: str | None = None
    """What to start from: the folder of a run or its model.keras, a .weights.h5 or .safetensors file, imagenet, or
    timm/NAME with or without @COMMIT. The weights bring the arguments of their model, and a run its image size."""
    recipe: str = "small_images"
    """The preset that the other options change: paper_resnet, paper_mobile, small_images or digits."""
    strategy: str = "auto"
    """auto (every GPU), none (one device), mirrored (every GPU, or every logical CPU), multi_worker (the processes of
    TF_CONFIG or of a SLURM step) or tpu."""
    epochs: int | None = None
    """Passes over the training images."""
    batch_size: int | None = None
    """The global batch: images an update, over all devices. The learning rate follows it."""
    image_size: int | None = None
    """Height and width of the network's input, in pixels."""
    learning_rate: float | None = None
    """Peak, for 256 images of the global batch."""
    warmup_epochs: float | None = None
    """Epochs of linear rise of the learning rate; below `epochs`."""
    weight_decay: float | None = None
    """L2 decay of convolution and dense kernels."""
    label_smoothing: float | None = None
    """Share of the target spread over all classes."""
    augmentation: str | None = None
    """none, shift, shift_flip or resized_crop_flip."""
    set: tuple[str, ...] = ()
    """Arguments of the model, as r=8 placement=pre alpha=0.5; they are added to the preset's."""
    seed: int = 0
    """The same seed gives the same weights on the same machine."""
    skip_corrupt: bool = False
    """Leave out the images that cannot be decoded, instead of stopping."""
    micro_batches: int = 1
    """Passes over a device's share of a batch, for one update: less memory."""
    checkpoint_steps: int = 0
    """Updates between checkpoints; 0 for one at the end of each epoch only."""
    resume: bool = False
    """Go on with the unfinished run that the folder holds; begin it if there is none."""
    overwrite: bool = False
    """Replace a run that the folder holds already."""

    def run(self) -> Rows:
        from keras_se.training import PRESETS, train

        if self.recipe not in PRESETS:
            raise InputError(f"recipe must be one of {', '.join(PRESETS)}; got {self.recipe!r}")
        preset = self._preset(PRESETS[self.recipe])
        names = {field.name for field in dataclasses.fields(preset)} - {"model_arguments"}
        given = {name: value for name, value in vars(self).items() if name in names and value is not None}
        recipe = dataclasses.replace(
            preset,
            **{**given, "out": str(self.out)},
            model_arguments={**preset.model_arguments, **_pairs(self.set)},
        )
        run = train(recipe, overwrite=self.overwrite, resume=self.resume)
        return Rows(
            document={"model": str(run.folder / "model.keras"), "folder": str(run.folder), "accuracy": run.accuracy},
            columns=("file", "test accuracy"),
            cells=[(str(run.folder / "model.keras"), f"{run.accuracy:.4f}")],
        )

    def _preset(self, preset: Any) -> Any:
        """Return a preset for the model and the weights: without its own model's arguments where they are others'."""
        from keras_se.preprocessing import recorded_preprocessing
        from keras_se.weights.keras_weights import run_file
        from keras_se.weights.loading import model_of_weights

        if self.weights is None:
            if self.model is None:
                raise InputError("train needs --model, or --weights of a run or of timm's; got neither")
            arguments = preset.model_arguments if preset.model == self.model else {}
            return dataclasses.replace(preset, model=self.model, model_arguments=arguments)
        model = self.model or model_of_weights(self.weights)
        if model is None:
            raise InputError(f"train needs --model: {self.weights} does not say what model it is of")
        path = run_file(self.weights)
        taken = None if path is None else recorded_preprocessing(path)
        size = preset.image_size if taken is None else max(taken.size)
        return dataclasses.replace(preset, model=model, model_arguments={"weights": self.weights}, image_size=size)


@dataclass(frozen=True)
class Launch(Common):
    """Run a `train` command in several processes on this machine that train together, as on a cluster."""

    command: Positional[tuple[str, ...]]
    """After --, the command: keras-se launch --workers 2 -- train --model …"""
    workers: int = 2
    """How many processes."""

    def run(self) -> Rows:
        from keras_se.training.distribution.local_launcher import launch

        if self.workers < 1:
            raise InputError(f"workers must be at least 1; got {self.workers}")
        if self.command[:1] != ("train",):
            raise InputError(f"launch runs train: keras-se launch --workers 2 -- train …; got {list(self.command)}")
        status = launch([*self.command, "--strategy", "multi_worker"], self.workers)
        return Rows(document={"workers": self.workers, "status": status}, columns=(), cells=[], status=status)


@dataclass(frozen=True)
class Check(Common):
    """Name the Keras layers that a target would refuse or run slowly, before any conversion. Exit status 1 if it would
    refuse one."""

    model: Positional[Path]
    """The .keras file."""
    target: str = "phone_cpu"
    """The device, as in `export`."""
    recipes: tuple[str, ...] | None = None
    """Number formats, as in `export`; by default those that it makes for the target."""

    def run(self) -> Rows:
        from keras_se.export.compatibility.checker import REFUSED, alike, check, missing_tool

        found = check(self.model, self.target, recipes=self.recipes)
        missing = missing_tool(self.target)
        groups = alike(found)
        reasons = (
            f"{one.verdict} {one.kind}, in {', '.join(one.recipes)}: {one.reason}; {one.instead}" for one, _ in groups
        )
        return Rows(
            document=[dataclasses.asdict(one) for one in found],
            columns=("layer", "class", "verdict"),
            cells=[(places, one.kind, one.verdict) for one, places in groups],
            notes=(
                *dict.fromkeys(reasons),
                *([] if found else [f"nothing is known that {self.target} would refuse or run slowly"]),
                *([] if missing is None else [f"export needs more: {missing}"]),
            ),
            status=1 if any(one.verdict == REFUSED for one in found) else 0,
        )


@dataclass(frozen=True)
class Export(_OfPixels):
    """Convert a trained model to .tflite files, with a manifest beside each."""

    model: Positional[Path]
    """The .keras file; its run.json is read where there is one."""
    out: Path
    """The folder for the files."""
    data: str | None = None
    """Where calibration images come from, as in `train`; static recipes need it."""
    recipes: tuple[str, ...] | None = None
    """Number formats: float32, float16, dynamic_wi8_afp32, static_wi8_ai8 and static_wi8_ai16 (these five by default,
    but for what the target refuses), weight_only_wi8_afp32, static_wi8_ai8_se_ai16, static_wi8_ai8_se_fp32,
    static_wi8_ai8_first_last_fp32."""
    bias_correction: bool = False
    """Correct the biases of files with 8-bit weights for the shift that rounding gives each layer's mean output."""
    search: bool = False
    """Make one file instead: int8, with as few operations in more bits as --max-drop asks for. Exit status 1 when not
    even all of them suffice; the best file is written all the same."""
    max_drop: float = 0.5
    """Of the search: percentage points of top-1 that may be lost against the float file."""
    higher_precision: str | None = None
    """Of the search: the format of the operations that are not int8, fp32 or ai16 (int16 activations); by default
    fp32, and ai16 for tflite_micro."""
    test_images: int = 1000
    """Test images that a search measures the loss on, and that scores are calibrated on."""
    calibrate_scores: bool = False
    """For mediapipe: fit the sigmoid that makes probabilities of the network's scores, which apps then show."""
    target: str = "phone_cpu"
    """The device: phone_cpu, phone_gpu (float32 and float16), mediapipe, browser, openvino, edgetpu (int8),
    tflite_micro, ethos_u55_{32,64,128,256}, ethos_u65_{256,512}, ethos_u85_{128,256,512,1024,2048} (no floats), and
    NPUs that their vendors' own compilers are needed for, as qualcomm_sm8750; a wrong name lists all."""
    images: int = 200
    """Training images to calibrate on."""
    calibration_method: str = "min_max"
    """How they give the ranges of activations: min_max (all that occurs), percentile (but for 0.01 %), mse (the least
    squared error in 8 bits) or moving_average (the quantizer's own rule, which clips)."""
    skip_corrupt: bool = False
    """Leave out the images that cannot be decoded, instead of stopping."""

    def run(self) -> Rows:
        from keras_se.export import export
        from keras_se.export.compatibility.arena import check_arena
        from keras_se.export.conversion.converter import check_backend, load_model
        from keras_se.export.quantization.image_range import check_accuracy
        from keras_se.export.quantization.observers import find_method
        from keras_se.export.quantization.recipes import find_recipe
        from keras_se.export.targets.registry import find_target
        from keras_se.export.tflite.score_calibration import fit_scores

        check_backend()
        find_method(self.calibration_method)
        if self.search:
            return self._searched()
        device = find_target(self.target)
        if self.calibrate_scores and not (device.calibrates_scores and self.data is not None):
            raise InputError(
                "--calibrate-scores is for --target mediapipe and needs labelled images in --data; got "
                f"--target {self.target} and {'no ' if self.data is None else ''}--data"
            )
        recipes = device.default_recipes if self.recipes is None else self.recipes
        model = load_model(self.model)
        check_arena(model, device, [find_recipe(name) for name in recipes])  # before so large images
        origin = self.origin(model, self.model)
        preprocessing, calibration = origin.preprocessing, None
        if self.data is not None:
            calibration, labels = _images(self, preprocessing, "train")
            check_accuracy(model, calibration, labels, origin)
        scores = None
        if self.calibrate_scores:
            images, labels = _images(dataclasses.replace(self, images=self.test_images), preprocessing, "test")
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
            score_calibration=scores,
        )
        found = [{**_where(artifact), **_size(artifact)} for artifact in artifacts]
        return Rows(
            document=found,
            columns=("file", "recipe", "bytes"),
            cells=[(one["path"], one["recipe"], f"{one['bytes']:,}") for one in found],
            notes=(_pixels_taken(origin),),
        )

    def _searched(self) -> Rows:
        from keras_se.export.conversion.converter import load_model
        from keras_se.export.evaluation.paired_interval import METHOD
        from keras_se.export.mixed_precision import export_mixed_precision

        if self.bias_correction or self.calibrate_scores:
            raise InputError("--search makes plain files; leave out --bias-correction and --calibrate-scores")
        if self.recipes is not None:
            raise InputError(f"--search makes one file of its own; leave out --recipes; got {list(self.recipes)}")
        if self.data is None:
            raise InputError("--search needs images to calibrate on and labelled ones to measure on; give --data")
        if self.max_drop < 0:
            raise InputError(f"max_drop must be at least 0 percentage points; got {self.max_drop}")
        origin = self.origin(load_model(self.model), self.model)
        calibration, _ = _images(self, origin.preprocessing, "train")
        images, labels = _images(dataclasses.replace(self, images=self.test_images), origin.preprocessing, "test")
        artifact, found = export_mixed_precision(
            self.model,
            self.out,
            calibration=calibration,
            images=images,
            labels=labels,
            max_drop=self.max_drop,
            higher_precision=self.higher_precision,
            target=self.target,
            calibration_method=self.calibration_method,
            preprocessing=origin.preprocessing if self.asked else None,
        )
        outcome = f"loses {found.loss} points of {100 * found.float_accuracy:.2f} % on {len(images)} test images"
        bound = "within" if found.reached else "NOT known to be within"
        return Rows(
            document=[{**_where(artifact), **_size(artifact), "search": artifact.manifest["search"]}],
            columns=("ranked operations lifted", "top-1 %", "points lost", "95 %"),
            cells=[
                (str(one.lifted), f"{100 * one.accuracy:.2f}", f"{one.drop:.2f}", f"{one.low:.2f} to {one.high:.2f}")
                for one in found.steps
            ],
            notes=(
                f"{artifact.path} {outcome}, {bound} {self.max_drop:g}; {len(found.lifted)} operations in "
                f"{found.higher_precision}",
                f"interval: {METHOD}; a step is accepted by its upper end",
                *_images_needed(found),
                _pixels_taken(origin),
            ),
            status=0 if found.reached else 1,
        )


def _images_needed(found: Any) -> list[str]:
    if found.reached:
        return []
    if found.images_needed is None:
        return [f"these images lose {found.drop:.2f} points: more of them would not show less"]
    return [f"if more come out as these, {found.images_needed:,} images would show it: --test-images"]


@dataclass(frozen=True)
class Parity(_OfPixels):
    """Run the same images through a Keras model and .tflite files, and say whether they agree."""

    reference: Positional[Path]
    """The .keras file."""
    files: Positional[tuple[Path, ...]]
    """The .tflite files."""
    data: str
    """Where the images come from, as in `train`; the test images are taken."""
    engines: tuple[str, ...] | None = None
    """litert (XNNPACK), litert_reference, tflm (by default each of these that can run the file), openvino."""
    images: int = 200
    """How many images."""
    skip_corrupt: bool = False
    """Leave out the images that cannot be decoded, instead of stopping."""

    def run(self) -> Rows:
        from keras_se.export.conversion.converter import load_model
        from keras_se.export.evaluation.parity import check_files, compare_all
        from keras_se.export.manifest import preprocessing_of_manifest
        from keras_se.export.quantization.image_range import agreed_preprocessing, check_accuracy

        check_files(self.files, self.engines)
        model = load_model(self.reference)
        origin = self.origin(model, self.reference)
        if not self.asked:
            said = {str(file): preprocessing_of_manifest(file) for file in self.files}
            origin = agreed_preprocessing({file: one for file, one in said.items() if one is not None}, origin)
        images, labels = _images(self, origin.preprocessing, "test")
        check_accuracy(model, images, labels, origin)
        rows = compare_all(model, self.files, images, engines=self.engines, labels=labels)
        return parity_rows(rows)


@dataclass(frozen=True)
class Diagnose(_OfPixels):
    """Show where a quantized file departs from its float file, operation by operation."""

    float_file: Positional[Path]
    """The float32 .tflite file, whose manifest is read where there is one; or the .keras file, for a quantized file
    that is written in another form than the float one, as those with hard swish are."""
    quantized_file: Positional[Path]
    """The .tflite file that was made of it."""
    data: str
    """Where the images come from, as in `train`; the test images are taken."""
    images: int = 50
    """How many images."""
    most: int = 20
    """How many operations to show, of those that lose most; with --json all, in the order of the graph."""
    plot: Path | None = None
    """An image file for the decibels and the channels' spread along the graph."""
    skip_corrupt: bool = False
    """Leave out the images that cannot be decoded, instead of stopping."""

    def run(self) -> Rows:
        from keras_se.export.conversion.converter import load_model, to_tflite
        from keras_se.export.conversion.lowering import lower
        from keras_se.export.evaluation.layer_errors import diagnose
        from keras_se.export.evaluation.plots import plot
        from keras_se.export.manifest import lowering_of, preprocessing_of_file
        from keras_se.export.tflite import flatbuffer

        if self.most < 1:
            raise InputError(f"most must be at least 1; got {self.most}")
        flatbuffer.load(self.quantized_file)
        lowering = lowering_of(self.quantized_file)
        with tempfile.TemporaryDirectory() as folder:
            float_file = self.float_file
            if float_file.suffix == ".keras":
                float_file = Path(folder) / "float32.tflite"
                float_file.write_bytes(to_tflite(lower(load_model(self.float_file), lowering)))
            flatbuffer.load(float_file)
            if float_file == self.float_file and lowering_of(float_file) != lowering:
                raise InputError(
                    f"{self.quantized_file} is written in another form than {float_file}; give the .keras file instead"
                )
            preprocessing = dataclasses.replace(preprocessing_of_file(self.quantized_file), **self.asked)
            images, _ = _images(self, preprocessing, "test")
            found = diagnose(float_file, self.quantized_file, images)
        if self.plot is not None:
            plot(found, self.plot, title=self.quantized_file.name)
        worst = sorted(found, key=lambda one: -one.lost_db)[: self.most]
        return Rows(
            document=[one.to_dict() for one in found],
            columns=("tensor", "operation", "dB", "lost", "clipped", "used", "spread"),
            cells=[_diagnosis_cells(one) for one in worst],
            notes=(f"at the end {found[-1].sqnr_db:.1f} dB, of {len(images)} images",),
        )


@dataclass(frozen=True)
class Bench(Common):
    """Measure .tflite files on this machine: latency, peak memory, XNNPACK's partitions, TFLite Micro's arena."""

    files: Positional[tuple[Path, ...]]
    """The .tflite files."""
    engines: tuple[str, ...] = ("litert", "litert_reference")
    """litert (XNNPACK), litert_reference, tflm (on one thread, whatever --threads says)."""
    threads: tuple[int, ...] = (1,)
    """Numbers of threads, each measured."""
    batch: int | None = None
    """Images in one run; by default as many as the file says."""
    runs: int = 50
    """How often each is timed."""
    against: Path | None = None
    """A file to run in turn with each of the others: the ratio of medians, and the quartiles of the rounds' ratios."""
    profile: bool = False
    """Each operation's latency, as a file of its own, and its Keras layer."""
    most: int = 20
    """How many operations to show of a file, of those that take longest; with --json all, in the order of the graph."""

    def run(self) -> Rows:
        from keras_se.cli.tables import bench_rows
        from keras_se.export import benchmark

        if self.most < 1:
            raise InputError(f"most must be at least 1; got {self.most}")
        found = benchmark(
            self.files,
            engines=self.engines,
            threads=self.threads,
            batch=self.batch,
            runs=self.runs,
            profile=self.profile,
            against=self.against,
        )
        return bench_rows(found, self.most)


@dataclass(frozen=True)
class Quickstart(Common):
    """Train a small SE-MobileNet on real digits, export it in five formats, and prove that the files agree."""

    out: Path = Path("keras-se-quickstart")
    """The folder for the model, the files and the report; an earlier quickstart there is replaced."""

    def run(self) -> Rows:
        from keras_se.cli.quickstart import quickstart

        return quickstart(self.out)


def _known(pattern: str) -> list[str]:
    from keras_se.registry import list_models

    names = list_models(pattern)
    if not names:
        raise InputError(f"no model matches {pattern!r}; there are {', '.join(list_models())}")
    return names


def _model_cells(model: dict[str, Any], *, every_weight: bool) -> tuple[str, ...]:
    weights = [name.removeprefix("timm/") for name in model["weights"]]
    return (
        model["name"],
        f"{model['parameters']:,}",
        f"{model['macs'] / 1e9:.3f} G",
        "" if model["error"] is None else f"{model['error']:.2f}",
        ", ".join(weights) if every_weight else str(len(weights) or ""),
    )


def _pairs(arguments: tuple[str, ...]) -> dict[str, Any]:
    """`("r=8", "placement=pre")` as `{"r": 8, "placement": "pre"}`: JSON or a number where it is one, else text."""
    pairs = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not (name and equals):
            raise InputError(f"--set takes NAME=VALUE, as r=8; got {argument!r}")
        if name in pairs:
            raise InputError(f"--set takes each name once; got {name} twice")
        pairs[name] = _value(value)
    return pairs


_WORDS = {"True": True, "False": False, "None": None}  # as Python writes them; JSON's are read too


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    for read in (json.loads, float):  # JSON has no .5
        with contextlib.suppress(ValueError, RecursionError):
            return read(text)
    return text


def _diagnosis_cells(one: Any) -> tuple[str, ...]:
    return (
        one.name,
        one.operation,
        f"{one.sqnr_db:.1f}",
        f"{one.lost_db:.1f}",
        f"{one.clipped:.2%}",
        f"{one.used:.0%}",
        f"{one.spread:.1f}",
    )


def _pixels_taken(origin: Any) -> str:
    """A line that says what an exported file takes, and why."""
    low, high = origin.preprocessing.input_range
    reason = origin.reason or "as nothing tells; else say --input-range"
    return f"pixels from {low:g} to {high:g}, {'by ' if origin.reason else ''}{reason}"


def _images(command: Any, preprocessing: Any, split: str):
    """Images of a command's data as a network sees them, and their labels."""
    from keras_se.training.data.input_pipeline import sample
    from keras_se.training.data.sources import load_source

    if command.images < 1:
        raise InputError(f"images must be at least 1; got {command.images}")
    source = load_source(command.data, skip_corrupt=command.skip_corrupt)
    return sample(getattr(source, split), preprocessing, command.images)


def _where(artifact) -> dict[str, Any]:
    return {"path": str(artifact.path), "recipe": artifact.recipe, "target": artifact.target}


def _size(artifact) -> dict[str, Any]:
    return {"bytes": artifact.manifest["bytes"], "sha256": artifact.manifest["sha256"]}
