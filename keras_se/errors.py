"""What the command line turns into one line and an exit status of its own."""


class InputError(ValueError):
    """An argument or an input file is wrong; the message names it and the remedy. Exit status 2."""


class ClusterError(RuntimeError):
    """The processes that train together do not any more. Exit status 3."""
