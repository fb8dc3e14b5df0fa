"""Pseudo masks: labels for training made of activation maps and scores, refined by the CRF, and judged by truth."""

from .masks import Job, make_masks, pair
from .recipe import Recipe
from .score_files import ClassMaps, read_maps
from .sweep import Point, sweep

__all__ = ['ClassMaps', 'Job', 'Point', 'Recipe', 'make_masks', 'pair', 'read_maps', 'sweep']
