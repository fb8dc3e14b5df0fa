"""The fully connected CRF of DeepLab v1 and v2. Needs numpy and torch only.

Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS 2011.
"""

from .autograd import DenseCRFLayer
from .dense_crf import DenseCRF
from .pool import CRFPool

__all__ = ['CRFPool', 'DenseCRF', 'DenseCRFLayer']
