"""Proof and measurement of files: parity, errors by layer, latency, memory. Imports all other rooms."""
