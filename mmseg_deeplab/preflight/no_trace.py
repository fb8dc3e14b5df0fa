"""Trying parts of a run without a trace of it."""

import logging
import random
import warnings
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.logging import MMLogger


@contextmanager
def no_trace() -> Generator[None]:
    """Leave the generators of random numbers as they were, and say nothing below an error in the meantime.

    What is built here is built once more by the run, which then says the same with the config's logger.
    """
    before, numpy_before, disabled = random.getstate(), np.random.get_state(), logging.root.manager.disable
    _disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter('ignore')
            yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)
        _disable(disabled)


def _disable(level: int) -> None:
    logging.disable(level)
    # MMEngine's loggers remember which levels they let through, and only this makes them forget.
    logger = MMLogger.get_current_instance()
    logger.setLevel(logger.level)
