"""Optional packages, by the extra that installs them."""

import importlib
from types import ModuleType

from keras_se.errors import MissingExtraError


def import_extra(module: str, extra: str) -> ModuleType:
    """The module, imported.

    Raises:
        MissingExtraError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except MissingExtraError:  # of a module of ours, which has said so itself
        raise
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name} is not installed; pip install 'keras-se[{extra}]'") from None
