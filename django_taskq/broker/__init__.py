"""The owner of keys and scripts: the only layer that knows Redis."""
