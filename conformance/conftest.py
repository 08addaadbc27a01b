"""Keeps pytest from looking for examples in a module that replaces `numpy.memmap` when imported."""

collect_ignore = ["everywhere"]
