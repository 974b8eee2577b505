"""Verdicts on what a target refuses, before conversion. Imports the rooms up to qat."""
