"""Command `keras-se launch`: the arguments of `train` in, as many processes as asked for that train one model."""

from dataclasses import dataclass
from typing import ClassVar

from tyro.conf import Positional

from keras_se.cli.command import Command
from keras_se.cli.tables import Rows
from keras_se.errors import InputError


@dataclass(frozen=True)
class Launch(Command):
    """Run a `train` command in several processes on this machine that train together, as on a cluster."""

    example: ClassVar[str] = "keras-se launch --workers 2 -- train --model se_mobilenet --data photos/ --out run"

    usage: ClassVar[str] = "[options] -- train --model …"

    command: Positional[tuple[str, ...]]
    """After --, the command: keras-se launch --workers 2 -- train --model …"""
    workers: int = 2
    """Processes to start."""

    def run(self) -> Rows:
        from keras_se.training.distribution.local_launcher import launch

        if self.workers < 1:
            raise InputError(f"workers must be at least 1; got {self.workers}")
        if self.command[:1] != ("train",):
            raise InputError(f"launch runs train: keras-se launch --workers 2 -- train …; got {list(self.command)}")
        status = launch([*self.command, "--strategy", "multi_worker"], self.workers)
        return Rows(document={"workers": self.workers, "status": status}, columns=(), cells=[], status=status)
