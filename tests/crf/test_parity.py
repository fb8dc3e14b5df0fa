"""All backends give the answer of pydensecrf called directly: max |dQ| < 1e-3, labels equal on > 99.99 %."""

import numpy as np
import pytest
from crf_helpers import PARAMETERS, assert_same_answer, make_image, make_probabilities, reference

from mmseg_deeplab.crf import DenseCRF, native
from mmseg_deeplab.crf.pydensecrf import is_installed

BACKENDS = [
    'torch',
    'pydensecrf',
    pytest.param('native', marks=pytest.mark.skipif(not native.is_available(), reason='the kernel was not built')),
]
OWN_BACKENDS = [BACKENDS[0], BACKENDS[2]]


@pytest.mark.parametrize('number', range(4))
@pytest.mark.parametrize('name', PARAMETERS)
@pytest.mark.parametrize('backend', OWN_BACKENDS)
def test_real_photographs(photographs, name, number, backend):
    image = photographs[number]
    probabilities = make_probabilities(21, *image.shape[:2], seed=number)
    q = DenseCRF(**PARAMETERS[name], backend=backend)(image, probabilities)
    assert (q.argmax(0) != probabilities.argmax(0)).mean() > 0.005  # the CRF has something to do
    assert_same_answer(q, reference(image, probabilities, PARAMETERS[name]))


@pytest.mark.parametrize('backend', OWN_BACKENDS)
def test_whole_photograph(photographs, backend):
    image = photographs[4]
    probabilities = make_probabilities(21, *image.shape[:2])
    q = DenseCRF(**PARAMETERS['v2_r101'], iterations=5, backend=backend)(image, probabilities)
    assert_same_answer(q, reference(image, probabilities, PARAMETERS['v2_r101'], iterations=5))


@pytest.mark.parametrize('name', PARAMETERS)
@pytest.mark.parametrize('backend', OWN_BACKENDS)
def test_generated_image(name, backend):
    image, probabilities = make_image(90, 121), make_probabilities(21, 90, 121)
    q = DenseCRF(**PARAMETERS[name], backend=backend)(image, probabilities)
    assert_same_answer(q, reference(image, probabilities, PARAMETERS[name]))


# Where the number of pixels is no multiple of 4, the reference adds the lattice points around the origin.
@pytest.mark.parametrize(
    'size', [(1, 1), (1, 2), (1, 3), (1, 37), (41, 1), (2, 2), (7, 7), (30, 31), (33, 35), (31, 33)]
)
@pytest.mark.parametrize('backend', BACKENDS)
def test_odd_sizes(size, backend):
    image, probabilities = make_image(*size), make_probabilities(4, *size)
    q = DenseCRF(**PARAMETERS['v2_r101'], backend=backend)(image, probabilities)
    assert_same_answer(q, reference(image, probabilities, PARAMETERS['v2_r101']))


@pytest.mark.parametrize('classes', [2, 3, 7, 8, 9, 15, 16, 24, 32, 33, 150])
@pytest.mark.parametrize('backend', BACKENDS)
def test_numbers_of_classes(classes, backend):
    image, probabilities = make_image(38, 43), make_probabilities(classes, 38, 43)
    q = DenseCRF(**PARAMETERS['v1'], backend=backend)(image, probabilities)
    assert_same_answer(q, reference(image, probabilities, PARAMETERS['v1']))


def compatibilities(classes: int) -> dict:
    rng = np.random.default_rng(3)
    lopsided = rng.normal(0, 2, (classes, classes)).astype(np.float32)
    return {
        'number': 4.0,
        'repelling number': -0.5,
        'vector': -rng.uniform(0, 5, classes).astype(np.float32),
        'matrix': 3 * (1 - np.eye(classes, dtype=np.float32)) + lopsided + lopsided.T,
        'asymmetric matrix': lopsided,
    }


@pytest.mark.parametrize('normalization', ['symmetric', 'before', 'after', 'no'])
@pytest.mark.parametrize('form', compatibilities(2))
@pytest.mark.parametrize('backend', BACKENDS)
def test_compatibilities_and_normalizations(form, normalization, backend):
    image, probabilities = make_image(45, 51), make_probabilities(5, 45, 51)
    compat = compatibilities(5)[form]
    if normalization == 'no':  # messages are sums over many pixels
        compat = compat / 30
    parameters = dict(pos_w=compat, pos_xy_std=2, bi_w=compat, bi_xy_std=20, bi_rgb_std=10)
    expected = reference(image, probabilities, parameters, normalization=normalization)
    assert abs(expected - probabilities).max() > 0.02
    q = DenseCRF(**parameters, normalization=normalization, backend=backend)(image, probabilities)
    assert_same_answer(q, expected)


def test_forms_of_the_potts_model_agree():
    """The documented signs: the number w, the vector -w and the matrix w (1 - identity) are one model."""
    image, probabilities = make_image(30, 40), make_probabilities(6, 30, 40)
    forms = [4, np.full(6, -4.0), 4 * (1 - np.eye(6))]
    for backend in ['torch'] + ['pydensecrf'] * is_installed() + ['native'] * native.is_available():
        number, vector, matrix = (DenseCRF(pos_w=w, bi_w=w, backend=backend)(image, probabilities) for w in forms)
        # A product with the matrix rounds as the processor's BLAS does; a wrong sign moves Q by more than a tenth.
        np.testing.assert_allclose(vector, number, atol=1e-4)
        np.testing.assert_allclose(matrix, number, atol=1e-4)
