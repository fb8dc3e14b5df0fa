"""Converters from other codebases."""


def detect_format(state):
    return None
