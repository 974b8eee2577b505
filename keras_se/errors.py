"""What the command line turns into one line and exit status 2."""


class InputError(ValueError):
    """An argument or an input file is wrong; the message names it and the remedy."""
