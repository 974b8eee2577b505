"""The command line, which alone sees models, training and export."""
