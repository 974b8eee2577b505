"""Weights from the hub, from timm's files and from runs of ours, and into timm's form."""
