"""Command line, the one room that sees models, training and export."""
