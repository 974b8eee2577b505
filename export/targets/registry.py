"""What each device takes."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from keras_se.errors import InputError
from keras_se.export.conversion.lowering_config import COMMUTED, ONE_PIECE, PLAIN, PRODUCTS, Form
from keras_se.export.quantization.recipes import RECIPES, USUAL, Recipe
from keras_se.export.targets.base import Content, Product

_FLOAT16 = "it has no kernel that reads float16 weights"
_HYBRID = "it has no kernels for int8 weights with float activations"
_INTEGERS = "it computes on integers alone"
_INT8 = "it computes in 8-bit integers alone"
_FLOATS = "a GPU computes in floats"
_SLOW = "it is to run where there are no fast floats"

# By the grammar of their names.
_WITH_FLOATS = [name for name in RECIPES if {"float32", "float16", "afp32", "fp32"} & set(name.split("_"))]


@dataclass(frozen=True)
class Target:
    """A device and the runtime on it."""

    name: str
    what: str
    """The device, in words."""
    lift: str = "fp32"
    """What a search lifts an operation to, by default: a name from `keras_se.export.quantization.quantizer_recipes.LIFTS`."""
    refuses: Mapping[str, str] = field(default_factory=dict)
    """Recipes whose files it cannot run, each with the reason."""
    float_form: Form = PLAIN
    """How a network is written for recipes that compute in float."""
    integer_form: Form = PRODUCTS
    """And for those that compute in integers."""
    xnnpack: bool = False
    """Whether LiteRT runs its files there, with XNNPACK."""
    computes_in_float16: bool = False
    """Whether it computes float32 files in float16 unless an app forbids it."""
    calibrates_scores: bool = False
    """Whether its apps apply a score calibration that the file brings."""
    finish: str | None = None
    """`module:function`, from `Content` and this target to `Product`: compiler, metadata, types of input and output.
    It is imported when it is used, because it may need an extra. It raises InputError where the device refuses."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the finish wants to know of this target."""

    @property
    def usual(self) -> tuple[str, ...]:
        """The recipes that the command line makes unless told otherwise."""
        return tuple(name for name in USUAL if name not in self.refuses)

    def form(self, recipe: Recipe) -> Form:
        """How a network is written for a recipe."""
        return self.integer_form if recipe.calibrated else self.float_form

    def finished(self, content: Content) -> Product:
        """The file as the device takes it.

        Raises:
            InputError: the target's tool is missing, or it refuses the file.
        """
        if self.finish is None:
            return Product(content.content)
        module, function = self.finish.split(":")
        return getattr(importlib.import_module(module), function)(content, self)


class Npu(NamedTuple):
    """A family of NPUs, in the system that Vela takes for it unless told otherwise."""

    macs: tuple[int, ...]
    """Multiply-accumulates a cycle: its sizes."""
    system_config: str
    """Clock, memories and their bandwidths: a section of Vela's own `Arm/vela.ini`, as is the memory mode."""
    memory_mode: str


ETHOS = {
    "u55": Npu((32, 64, 128, 256), "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "u65": Npu((256, 512), "Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
    "u85": Npu((128, 256, 512, 1024, 2048), "Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
}


def _ethos(family: str, npu: Npu, macs: int) -> Target:
    return Target(
        f"ethos_{family}_{macs}",
        f"Arm Ethos-{family.upper()} with {macs} multiply-accumulates a cycle",
        lift="ai16",
        refuses=dict.fromkeys(_WITH_FLOATS, _INTEGERS),
        integer_form=COMMUTED,
        finish="keras_se.export.targets.ethos_u:finish",
        options={
            "accelerator": f"ethos-{family}-{macs}",
            "system_config": npu.system_config,
            "memory_mode": npu.memory_mode,
        },
    )


_PROCESSORS: dict[str, tuple[str, str]] = {
    "google_tensor": ("Google", "Tensor_G3 Tensor_G4 Tensor_G5 Tensor_G6"),
    "intel_npu": ("Intel NPU", "LNL PTL"),
    "mediatek": (
        "MediaTek",
        "MT6853 MT6877 MT6878 MT6879 MT6886 MT6893 MT6895 MT6897 MT6983 MT6985 MT6989 MT6991 MT6993 MT8171 MT8188 "
        "MT8189",
    ),
    "qualcomm": ("Qualcomm", "SA8255 SA8295 SM8350 SM8450 SM8475 SM8550 SM8650 SM8750 SM8845 SM8850"),
}
"""Those that LiteRT 2.3 compiles for ahead of time, as `ai_edge_litert.aot.vendors` names them."""


def _processors() -> Iterator[Target]:
    for vendor, (words, models) in _PROCESSORS.items():
        for model in models.split():
            yield Target(
                f"{vendor}_{model.lower().removeprefix('tensor_')}",
                f"{words} {model}, through its vendor's compiler; untested on hardware",
                finish="keras_se.export.targets.vendor_npu:finish",
                options={"vendor": vendor, "soc": model},
            )


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("phone_cpu", "LiteRT with XNNPACK on a phone's processor", integer_form=ONE_PIECE, xnnpack=True),
        Target(
            "phone_gpu",
            "LiteRT with its GPU delegate on a phone's graphics processor",
            refuses=dict.fromkeys(RECIPES.keys() - {"float32", "float16"}, _FLOATS),
            computes_in_float16=True,
            finish="keras_se.export.targets.phone_gpu:finish",
        ),
        Target(
            "mediapipe",
            "MediaPipe's ImageClassifier in an app",
            integer_form=ONE_PIECE,
            xnnpack=True,
            calibrates_scores=True,
            finish="keras_se.export.targets.mediapipe:finish",
        ),
        Target(
            "browser",
            "LiteRT.js in a web page",
            integer_form=ONE_PIECE,
            xnnpack=True,
            finish="keras_se.export.targets.browser:finish",
        ),
        Target(
            "openvino",
            "OpenVINO on an Intel processor; int8 is exact on one with VNNI or AMX",
            finish="keras_se.export.runtimes.openvino:finish",
        ),
        Target(
            "edgetpu",
            "Coral's Edge TPU: a file that keeps the published rules, compiled where edgetpu_compiler is on PATH",
            refuses=dict.fromkeys((name for name in RECIPES if name != "static_wi8_ai8"), _INT8),
            finish="keras_se.export.targets.edgetpu:finish",
        ),
        Target(
            "tflite_micro",
            "TFLite Micro on a microcontroller",
            lift="ai16",
            refuses={
                **dict.fromkeys(_WITH_FLOATS, _SLOW),
                "float16": _FLOAT16,
                "dynamic_wi8_afp32": _HYBRID,
                "weight_only_wi8_afp32": _HYBRID,
            },
            finish="keras_se.export.targets.tflite_micro:finish",
        ),
        *(_ethos(family, npu, macs) for family, npu in ETHOS.items() for macs in npu.macs),
        *_processors(),
    )
}


def find_target(name: str, recipes: Sequence[Recipe] = ()) -> Target:
    """The target of that name, which must take the recipes.

    Raises:
        InputError: there is no such target, or it refuses a recipe.
    """
    if name not in TARGETS:
        raise InputError(f"target must be one of {', '.join(TARGETS)}; got {name!r}")
    target = TARGETS[name]
    for recipe in recipes:
        if recipe.name in target.refuses:
            raise InputError(f"{name} cannot run {recipe.name}: {target.refuses[recipe.name]}; leave it out")
    return target
