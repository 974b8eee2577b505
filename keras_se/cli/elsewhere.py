"""Option of the commands that can run files on another machine."""

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

from keras_se.cli.command import Command, left_out
from keras_se.cli.tables import Rows


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Command):
    """Option of where LiteRT runs."""

    on: Annotated[str | None, left_out("this machine", metavar="COMMAND")] = None
    """Run LiteRT in the Python that this starts, as 'ssh pi@raspberrypi python3'; there it needs ai-edge-litert."""

    def run(self) -> Rows:
        if self.on is None:
            return self.run_there()
        from keras_se.export.sandbox.remote import running_on

        with running_on(self.on) as machine:
            rows = self.run_there()
        return dataclasses.replace(rows, notes=(*rows.notes, f"LiteRT ran on {machine}"))

    @abstractmethod
    def run_there(self) -> Rows:
        """Do the command's work, with files run where the option says."""
