"""Command `keras-se check`: a Keras model and a target in, the layers that the target refuses out."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional

from keras_se.cli.command import left_out
from keras_se.cli.model_input import ModelInput
from keras_se.cli.tables import Rows


@dataclass(frozen=True)
class Check(ModelInput):
    """Name the Keras layers that a target would refuse or run slowly, before any conversion. Exit status 1 if it would
    refuse one."""

    example: ClassVar[str] = "keras-se check run/model.keras --target edgetpu"

    model: Positional[Path]
    """Path of a .keras file."""
    target: str = "phone_cpu"
    """Device, as in `export`."""
    recipes: Annotated[tuple[str, ...] | None, left_out("those that export makes for the target", metavar="NAME …")] = (
        None
    )
    """Number formats, as in `export`."""

    def run(self) -> Rows:
        from keras_se.export.compatibility.checker import REFUSED, alike, check, missing_tool
        from keras_se.export.conversion.converter import load_model

        model = load_model(self.model)
        findings = check(model, self.target, recipes=self.recipes, input_shape=self.input_shape_of(model))
        missing = missing_tool(self.target)
        groups = alike(findings)
        reasons = (
            f"{finding.verdict} {finding.kind}, in {', '.join(finding.recipes)}: {finding.reason}; {finding.instead}"
            for finding, _ in groups
        )
        return Rows(
            document=[dataclasses.asdict(finding) for finding in findings],
            columns=("layer", "class", "verdict"),
            cells=[(places, finding.kind, finding.verdict) for finding, places in groups],
            notes=(
                *dict.fromkeys(reasons),
                *([] if findings else [f"nothing is known that {self.target} would refuse or run slowly"]),
                *([] if missing is None else [f"export needs more: {missing}"]),
            ),
            status=1 if any(finding.verdict == REFUSED for finding in findings) else 0,
        )
