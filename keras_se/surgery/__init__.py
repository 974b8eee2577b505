"""SE into, out of, and seen inside any functional or sequential Keras model."""
