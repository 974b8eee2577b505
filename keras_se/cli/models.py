"""Command `keras-se models`: a pattern of names in, a table of the networks out."""

from dataclasses import dataclass
from typing import Any, ClassVar

from tyro.conf import Positional

from keras_se.cli.command import Command
from keras_se.cli.tables import Rows
from keras_se.errors import InputError


@dataclass(frozen=True)
class Models(Command):
    """List the models: trainable parameters, multiply-accumulates of one image, published error, published weights."""

    example: ClassVar[str] = "keras-se models 'se_resnet*'"

    pattern: Positional[str] = "*"
    """Shell-style pattern of names, as 'se_resnet*'."""
    markdown: bool = False
    """Print the table as Markdown."""

    def run(self) -> Rows:
        from keras_se.progress import track
        from keras_se.registry import find, size_of
        from keras_se.weights.timm_mapping import list_weights

        names = _matching(self.pattern)
        models = []
        for name in track(names, f"Building {len(names)} models", total=len(names)):
            parameters, macs = size_of(name)
            sizes = {"name": name, "parameters": parameters, "macs": macs}
            models.append({**sizes, "error": find(name).error, "weights": list_weights(name)})
        return Rows(
            document=models,
            columns=("model", "parameters", "MACs", "top-1 error %", "weights"),
            cells=[_cells(model, every_weight=self.markdown) for model in models],
            notes=tuple(f"--weights {name}" for model in models if len(models) == 1 for name in model["weights"]),
        )


def _matching(pattern: str) -> list[str]:
    from keras_se.registry import list_models

    names = list_models(pattern)
    if not names:
        raise InputError(f"no model matches {pattern!r}; there are {', '.join(list_models())}")
    return names


def _cells(model: dict[str, Any], *, every_weight: bool) -> tuple[str, ...]:
    weights = [name.removeprefix("timm/") for name in model["weights"]]
    return (
        model["name"],
        f"{model['parameters']:,}",
        f"{model['macs'] / 1e9:.3f} G",
        "" if model["error"] is None else f"{model['error']:.2f}",
        ", ".join(weights) if every_weight else str(len(weights) or ""),
    )
