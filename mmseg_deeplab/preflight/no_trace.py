"""Trying parts of a run without a trace of it."""

import logging
import random
import warnings
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def no_trace() -> Generator[None]:
    """Leave the generators of random numbers as they were, and say nothing below an error in the meantime.

    What is built here is built once more by the run, which then says the same with the config's logger.
    """
    before, numpy_before, disabled = random.getstate(), np.random.get_state(), logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter('ignore')
            yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)
        logging.disable(disabled)
