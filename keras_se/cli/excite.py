"""Command `keras-se excite`: a model with SE and labelled images in, what each block does and is worth out."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tyro.conf import Positional

from keras_se.atomic_files import check_writable, writable_folder
from keras_se.cli.image_options import ImageOptions
from keras_se.cli.tables import Rows
from keras_se.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from keras_se.surgery.folding import Folding
    from keras_se.surgery.se_blocks import Block

_NPU = "ethos_u"


@dataclass(frozen=True)
class Excite(ImageOptions):
    """Show what each SE block does: its gate by class and by depth, and what it is worth in accuracy and time."""

    example: ClassVar[str] = "keras-se excite run/ --data photos/ --out excite"

    model: Positional[Path]
    """The folder of a run or a .keras file, with SE of this package or of keras.applications."""
    data: str
    """Where the images come from, as in `train`; the test images are taken."""
    out: Path
    """Folder for by_class.png and by_depth.png; needs the extra [plot]."""
    images: int = 500
    """How many images."""
    target: tuple[str, ...] = ("phone_cpu",)
    """Devices to estimate times for: phone_cpu, by LiteRT on this machine, block by block; and ethos_u…, by Vela, of
    all blocks together. `--target` without a name estimates none."""
    runs: int = 30
    """How often each operation is timed."""
    fold: float | None = None
    """Distance from its mean within which a gate counts as constant, at least 0: say what folding such blocks away
    saves by target."""

    def run(self) -> Rows:
        from keras_se.surgery.folding import fold_constant
        from keras_se.surgery.plots import plot_by_class, plot_by_depth
        from keras_se.surgery.ranking import rank_blocks

        self._check_targets()
        check_writable(self.out)  # before the images are read
        model, images, labels, classes = self._loaded()
        ranking = rank_blocks(model, images, labels)
        writable_folder(self.out)
        plot_by_class(ranking, labels, classes, self.out / "by_class.png")
        plot_by_depth(ranking, self.out / "by_depth.png")
        times = _block_times(model, ranking.places, self.runs) if "phone_cpu" in self.target else None
        document: dict[str, Any] = {"images": len(images), "accuracy": ranking.accuracy}
        document["blocks"] = [
            {**block.to_dict(), **({} if times is None else {"ms": times[block.name]})} for block in ranking.blocks
        ]
        npus = [name for name in self.target if name.startswith(_NPU)]
        document["npu_ms"] = {name: _npu_times(model, name, images) for name in npus}
        folding = None if self.fold is None else fold_constant(model, images, tolerance=self.fold)
        if folding is not None:
            saved = {} if times is None else {"phone_cpu": sum(times[path] for path in _gone(folding, ranking.places))}
            saved |= {
                name: ms["with"] - _npu_ms(folding.model, name, images) for name, ms in document["npu_ms"].items()
            }
            document["fold"] = {**folding.to_dict(), "ms_saved": saved}
        document["plots"] = [str(self.out / name) for name in ("by_class.png", "by_depth.png")]
        shown = {block["name"]: block for block in document["blocks"]}
        return Rows(
            document=document,
            columns=("block", "channels", "mean", "spread", "classes", "lost", *(["ms"] if times is not None else [])),
            cells=[_cells(shown[block.name]) for block in ranking.most_worth()],
            notes=(
                f"top-1 {ranking.accuracy:.4f}, of {len(images)} images; lost: with the gate held at its mean",
                *(
                    f"{name}: {ms['with']:.3f} ms, without SE {ms['without']:.3f} ms, as Vela estimates"
                    for name, ms in document["npu_ms"].items()
                ),
                *(() if folding is None else (_folding_note(document["fold"], len(ranking.blocks)),)),
                f"drawn into {' and '.join(document['plots'])}",
            ),
        )

    def _check_targets(self) -> None:
        from keras_se.export.targets.registry import find_target
        from keras_se.optional_packages import import_extra

        for name in self.target:
            find_target(name)
            if name != "phone_cpu" and not name.startswith(_NPU):
                raise InputError(f"target must be phone_cpu or ethos_u…, for which times are estimated; got {name}")
            if name.startswith(_NPU):
                import_extra("ethosu.vela", "ethos")
        if self.fold is not None and not self.fold >= 0:
            raise InputError(f"fold must be at least 0; got {self.fold}")
        if self.runs < 1:
            raise InputError(f"runs must be at least 1; got {self.runs}")
        import_extra("matplotlib.figure", "plot")

    def _loaded(self) -> "tuple[keras.Model, np.ndarray, np.ndarray, tuple[str, ...]]":
        """Return the model, images with their labels as the model counts them, and the classes' names."""
        import numpy as np

        from keras_se.classifier import classifier_of
        from keras_se.export.conversion.converter import load_model
        from keras_se.training.data.sources import load_source
        from keras_se.weights.keras_weights import run_file

        if not self.model.exists():
            raise InputError(f"there is no {self.model}; give a .keras file or the folder of a run")
        path = run_file(self.model)
        if path is None:
            raise InputError(f"a model is a .keras file or the folder of a run; got {str(self.model)!r}")
        model = load_model(path)
        known = classifier_of(path).classes
        classes = load_source(self.data, skip_corrupt=self.skip_corrupt).classes
        images, labels = self.sample(self.data, self.origin(model, path).preprocessing, "test", self.images)
        if known is None:
            return model, images, labels, classes
        unknown = [name for name in classes if name not in known]
        if unknown:
            raise InputError(f"the images have classes that the model has not: {', '.join(unknown[:5])}")
        return model, images, np.array([known.index(name) for name in classes])[labels], known


def _cells(block: dict[str, Any]) -> tuple[str, ...]:
    shares = (f"{block[name]:.3f}" for name in ("mean", "spread", "between_classes"))
    times = (f"{block['ms']:.4f}",) if "ms" in block else ()
    return (block["name"], str(block["channels"]), *shares, f"{100 * block['accuracy_lost']:+.2f}", *times)


def _block_times(model: "keras.Model", blocks: "Sequence[Block]", runs: int) -> dict[str, float]:
    """Return the milliseconds of each block's operations in the float32 file, each run alone on LiteRT."""
    from keras_se.export import benchmark, export
    from keras_se.surgery.se_blocks import layers_of

    names = {name: block.path for block, own in layers_of(model, blocks) for name in own}
    with tempfile.TemporaryDirectory() as folder:
        [file] = export(model, folder, recipes=("float32",))
        [figures] = benchmark([file.path], engines=("litert",), runs=runs, profile=True)
    times = dict.fromkeys((block.path for block in blocks), 0.0)
    for operation in figures.profile or ():
        layer = operation["layer"].rpartition("/")[2] if operation["layer"] not in names else operation["layer"]
        for candidate in (operation["layer"], operation["layer"].partition("/")[0], layer):
            own = [name for name in names if candidate == name or candidate.startswith((f"{name}_", f"{name}/"))]
            if own:
                times[names[max(own, key=len)]] += operation["median_ms"]
                break
    return times


def _npu_times(model: "keras.Model", target: str, images: "np.ndarray") -> dict[str, float]:
    """Return Vela's milliseconds of an image by the int8 file, with SE and with the mean of each gate instead."""
    from keras_se.surgery.removal import remove

    networks = {"with": model, "without": remove(model, keep_mean=images)}
    return {name: _npu_ms(network, target, images) for name, network in networks.items()}


def _npu_ms(network: "keras.Model", target: str, images: "np.ndarray") -> float:
    from keras_se.export import export
    from keras_se.export.targets.ethos_u import vela_summary

    with tempfile.TemporaryDirectory() as folder:
        [file] = export(network, folder, recipes=("static_wi8_ai8",), calibration=images[:100])
        return vela_summary(file.path.read_bytes(), target).milliseconds


def _gone(folding: "Folding", blocks: "Sequence[Block]") -> list[str]:
    """Return the folded blocks of which nothing stays: no multiplication that no layer beside them took."""
    import keras

    layers: Any = folding.model._flatten_layers()
    staying = {layer.name for layer in layers if isinstance(layer, keras.layers.Rescaling)}
    return [block.path for block in blocks if block.path in folding.folded and block.operation.name not in staying]


def _folding_note(fold: dict[str, Any], blocks: int) -> str:
    saved = "".join(f"; {name}: {ms:.4f} ms" for name, ms in fold["ms_saved"].items())
    return (
        f"folding {len(fold['folded'])} of {blocks} blocks moves an output by {fold['output_change']:.2g} at most and "
        f"saves {fold['parameters_saved']} parameters{saved}"
    )
