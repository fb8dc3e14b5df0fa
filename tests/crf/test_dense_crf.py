"""DenseCRF: what it takes, what it refuses, its states, batches and class pruning."""

import sys

import numpy as np
import pytest
import torch
from crf_helpers import PARAMETERS, make_image, make_probabilities
from pretended_gpu import gpu

from mmseg_deeplab.crf import DenseCRF, mean_field, native, pydensecrf
from mmseg_deeplab.crf.kernels import Kernel
from mmseg_deeplab.errors import UserError

BACKENDS = [
    'torch',
    pytest.param('native', marks=pytest.mark.skipif(not native.is_available(), reason='the kernel was not built')),
    pytest.param('pydensecrf', marks=pytest.mark.skipif(not pydensecrf.is_installed(), reason='needs pydensecrf2')),
]
MODES = ['all', 'adaptive', 'fast']
IMAGE, PROBABILITIES = make_image(30, 37), make_probabilities(6, 30, 37)


@pytest.fixture(scope='module')
def expected() -> np.ndarray:
    return DenseCRF(backend='torch')(IMAGE, PROBABILITIES)


FORMS = {
    'float64': lambda p: p.astype(np.float64),
    'fortran order': np.asfortranarray,
    'channels last': lambda p: np.ascontiguousarray(p.transpose(1, 2, 0)).transpose(2, 0, 1),
    'reversed view': lambda p: p[:, ::-1].copy()[:, ::-1],
    'big endian': lambda p: p.astype('>f4'),
    'tensor': torch.from_numpy,
    'tensor view': lambda p: torch.from_numpy(p.T.copy()).permute(2, 1, 0),
    'with gradient': lambda p: torch.from_numpy(p.copy()).requires_grad_(),
}


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('form', FORMS)
def test_takes_any_memory_layout(form, backend, expected):
    scores = FORMS[form](PROBABILITIES)
    q = DenseCRF(backend=backend)(IMAGE, scores)
    assert type(q) is type(scores)
    assert q.dtype == scores.dtype
    np.testing.assert_allclose(np.asarray(q), expected, atol=1e-4)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    scores = torch.from_numpy(PROBABILITIES).to(dtype)
    q = DenseCRF()(torch.from_numpy(IMAGE), scores)
    assert q.dtype == dtype
    torch.testing.assert_close(q, DenseCRF()(IMAGE, scores.float()).to(dtype))


def test_image_may_be_any_view():
    expected = DenseCRF()(IMAGE, PROBABILITIES)
    image = np.asfortranarray(IMAGE)
    image.flags.writeable = False
    np.testing.assert_array_equal(DenseCRF()(image, PROBABILITIES), expected)
    bgr = IMAGE[..., ::-1].copy()
    np.testing.assert_array_equal(DenseCRF()(bgr[..., ::-1], PROBABILITIES), expected)


def test_inputs_are_left_alone():
    image, scores = IMAGE.copy(), PROBABILITIES.copy()
    q = DenseCRF(iterations=0, backend='torch')(image, scores)
    assert not np.shares_memory(q, scores)
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(scores, PROBABILITIES)


def test_logits(expected):
    logits = np.log(PROBABILITIES) + 7
    np.testing.assert_allclose(DenseCRF(input='logits')(IMAGE, logits), expected, atol=1e-4)


@pytest.mark.parametrize('backend', BACKENDS)
def test_without_messages_the_clipped_input_comes_back(backend):
    p = np.array([[[1.0, 0.8]], [[0.0, 0.1]], [[0.0, 0.1]]], dtype=np.float32)
    image = make_image(1, 2)
    for crf in DenseCRF(iterations=0, backend=backend, clip=0.1), DenseCRF(pos_w=0, bi_w=0, backend=backend, clip=0.1):
        np.testing.assert_allclose(crf(image, p)[:, 0, 0], np.array([1, 0.1, 0.1]) / 1.2, rtol=1e-6)


@pytest.mark.parametrize('backend', BACKENDS)
def test_zero_weight_leaves_a_kernel_out(backend):
    """Whatever the standard deviations of the kernel left out."""
    q = DenseCRF(pos_w=0, pos_xy_std=1e-9, backend=backend)(IMAGE, PROBABILITIES)
    near = DenseCRF(pos_w=1e-7, backend=backend)(IMAGE, PROBABILITIES)
    np.testing.assert_allclose(q, near, atol=1e-4)
    q = DenseCRF(bi_w=np.zeros(6), bi_rgb_std=1e-9, backend=backend)(IMAGE, PROBABILITIES)
    np.testing.assert_allclose(q, DenseCRF(bi_w=1e-7, backend=backend)(IMAGE, PROBABILITIES), atol=1e-4)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('backend', BACKENDS)
def test_steps(backend, mode):
    """State k is the answer of a CRF of k iterations, and stays so when the next is computed."""
    image, p = make_image(40, 50), rare_classes()
    states = list(DenseCRF(iterations=5, backend=backend, mode=mode).steps(image, p))
    assert len(states) == 6
    for iterations, state in enumerate(states):
        q = DenseCRF(iterations=iterations, backend=backend, mode=mode)(image, p)
        np.testing.assert_array_equal(state, q)
        np.testing.assert_allclose(state.sum(0), 1, rtol=1e-5)


@pytest.mark.parametrize(
    'weights', [{}, {'bi_w': [-4, -3, -2]}, {'bi_w': 4 - 4 * np.eye(3)}], ids=['number', 'vector', 'matrix']
)
@pytest.mark.parametrize('backend', BACKENDS)
def test_batch_equals_its_images(backend, weights):
    """Images of different sizes, in a list one after the other (a call) and all at once (steps)."""
    sizes = [(20, 31), (20, 31), (17, 23), (1, 5)]
    images = [make_image(*size, seed=i) for i, size in enumerate(sizes)]
    scores = [make_probabilities(3, *size, seed=i) for i, size in enumerate(sizes)]
    crf = DenseCRF(iterations=4, backend=backend, **weights)
    *_, last = crf.steps(images, scores)
    for image, p, one, other in zip(images, scores, crf(images, scores), last, strict=True):
        np.testing.assert_array_equal(one, crf(image, p))
        np.testing.assert_allclose(other, one, atol=1e-5)
    assert crf([], []) == [] and list(crf.steps([], [])) == [[]] * 5


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('backend', BACKENDS)
def test_batch_of_different_numbers_of_classes(backend, mode):
    images = [make_image(20, 31, seed=i) for i in range(3)]
    scores = [make_probabilities(c, 20, 31, seed=c) for c in (2, 20, 7)]
    crf = DenseCRF(iterations=4, backend=backend, mode=mode)
    *_, last = crf.steps(images, scores)
    for image, p, q in zip(images, scores, last, strict=True):
        np.testing.assert_allclose(q, crf(image, p), atol=1e-5)


def test_gaussian_lattice_is_built_once_for_each_size(monkeypatch):
    mean_field._gaussian.cache_clear()
    for seed in range(3):
        DenseCRF(backend='torch', iterations=1)(make_image(14, 15, seed), make_probabilities(2, 14, 15))
    assert mean_field._gaussian.cache_info().misses == 1
    DenseCRF(backend='torch', iterations=1, pos_xy_std=2)(make_image(14, 15), make_probabilities(2, 14, 15))
    assert mean_field._gaussian.cache_info().misses == 2


def nan(p):
    p[0, 0, 0] = np.nan


def infinite(p):
    p[0, 0, 0] = np.inf


def negative(p):
    p[0, 0, 0] = -0.01


def above_one(p):
    p[0, 0, 0] = 2


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize(
    ('spoil', 'message'),
    [(nan, 'NaN'), (infinite, 'infinite'), (negative, 'negative.*logits'), (above_one, 'above one.*logits')],
)
def test_refuses_what_are_no_probabilities(spoil, message, backend):
    p = PROBABILITIES.copy()
    spoil(p)
    with pytest.raises(ValueError, match=message):
        DenseCRF(backend=backend)(IMAGE, p)
    with pytest.raises(ValueError, match=message):
        DenseCRF(backend=backend)(torch.from_numpy(IMAGE), torch.from_numpy(p))


@pytest.mark.parametrize(
    ('image', 'p', 'message'),
    [
        (IMAGE, PROBABILITIES[:, :-1], 'image is 30x37 .* probabilities are 29x37: resize'),
        (IMAGE.transpose(1, 0, 2), PROBABILITIES, 'image is 37x30'),
        (IMAGE.astype(np.float32) / 255, PROBABILITIES, 'its colours are nearly the same.*uint8'),
        (IMAGE.astype(np.float32) / 60 - 2.1, PROBABILITIES, 'its colours are nearly the same.*uint8'),
        (IMAGE.astype(np.float32) * np.nan, PROBABILITIES, 'image holds NaN'),
        (IMAGE.astype(np.int64), PROBABILITIES, 'type int64: expected uint8'),
        (torch.from_numpy(IMAGE).int(), PROBABILITIES, 'type torch.int32: expected uint8'),
        (IMAGE.transpose(2, 0, 1), PROBABILITIES, r'shape \(3, 30, 37\): expected \(height, width, 3\)'),
        (IMAGE[0, 0], PROBABILITIES, r'expected \(height, width, 3\)'),
        (IMAGE, PROBABILITIES[:1], 'one channel.*stack both classes'),
        (IMAGE, PROBABILITIES * 0, 'all zero'),
        (IMAGE, np.eye(6, dtype=np.float32)[IMAGE[..., 0] % 6].transpose(2, 0, 1), 'hard labels.*from_labels'),
        (IMAGE[:0], PROBABILITIES[:, :0], 'expected'),
        (IMAGE, PROBABILITIES[:0], 'zero classes'),
        (IMAGE, PROBABILITIES[0], r'expected \(classes, height, width\)'),
        (IMAGE, PROBABILITIES.astype(np.int64), 'expected a float type'),
        ('image.jpg', PROBABILITIES, 'image has shape none'),
        ([IMAGE], PROBABILITIES, '1 images in a list'),
        ([IMAGE, IMAGE], [PROBABILITIES], '2 images in a list.* 1 of them'),
        ([IMAGE, IMAGE], [PROBABILITIES, PROBABILITIES[:, 1:]], 'image 1 is 30x37'),
    ],
)
@pytest.mark.parametrize('backend', BACKENDS)
def test_refuses_inputs(image, p, message, backend):
    with pytest.raises(UserError, match=message):
        DenseCRF(backend=backend)(image, p)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'iterations': -1}, 'iterations=-1'),
        ({'iterations': 2.5}, 'iterations=2.5'),
        ({'iterations': True}, 'iterations=True'),
        ({'clip': 'a'}, "clip='a'"),
        ({'backend': 'cpp'}, "backend='cpp': expected one of 'auto', 'native', 'torch', 'pydensecrf'"),
        ({'normalization': 'both'}, 'normalization'),
        ({'input': 'softmax'}, 'input'),
        ({'pos_xy_std': 0}, 'pos_xy_std=0: a standard deviation is a positive number'),
        ({'bi_xy_std': -1}, 'bi_xy_std=-1'),
        ({'bi_rgb_std': float('nan')}, 'bi_rgb_std=nan'),
        ({'bi_rgb_std': '3'}, "bi_rgb_std='3'"),
        ({'mode': 'slow'}, "mode='slow': expected one of 'adaptive', 'all', 'fast'"),
        ({'bi_w': 1e9}, 'bi_w=1000000000.0: beyond 10000'),
        ({'pos_w': [-1e5, 0]}, 'pos_w=.*beyond 10000'),
        ({'bi_xy_std': 1e12}, 'bi_xy_std=.*beyond any picture'),
        ({'bi_rgb_std': True}, 'bi_rgb_std=True'),
        ({'pos_xy_std': (1, 2, 3)}, r'pos_xy_std=\(1, 2, 3\): give one number, or 2 \(x, y\)'),
        ({'clip': 0}, 'clip=0'),
        ({'pos_w': np.nan}, 'pos_w holds NaN'),
        ({'bi_w': 'strong'}, "bi_w='strong'"),
        ({'bi_w': np.zeros((2, 3))}, r'bi_w has shape \(2, 3\)'),
    ],
)
def test_refuses_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        DenseCRF(**arguments)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('w', [np.zeros(5) - 1, 1 - np.eye(7)])
def test_refuses_compatibilities_for_other_classes(w, backend):
    with pytest.raises(ValueError, match='bi_w has shape .* there are 6 classes'):
        DenseCRF(bi_w=w, backend=backend)(IMAGE, PROBABILITIES)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('std', [{'bi_rgb_std': 0.01}, {'pos_xy_std': 0.001}, {'bi_xy_std': 1e-4}])
def test_refuses_lattice_keys_beyond_16_bits(std, backend):
    """pydensecrf writes outside of its memory there."""
    with pytest.raises(ValueError, match='does not fit into 16 bits'):
        DenseCRF(backend=backend, **std)(IMAGE, PROBABILITIES)


@pytest.mark.parametrize(('xy_std', 'rgb_std'), [(1, None), (0.02, None), (67, 3), (5, 0.5), (0.5, 13)])
def test_bound_on_the_keys_holds(xy_std, rgb_std):
    """The bound behind the refusal against the keys of the definition: elevated coordinates, one simplex further."""
    height, width = 40, 60
    largest = [(width - 1) / xy_std, (height - 1) / xy_std] + ([255 / rgb_std] * 3 if rgb_std else [])
    d = len(largest)
    corners = np.array(np.meshgrid(*[(0, f) for f in largest])).reshape(d, -1)
    basis = np.zeros((d + 1, d))  # Adams 2010, section 3.1: columns (1, ..., 1, -j, 0, ..., 0) / sqrt(j (j + 1))
    for j in range(1, d + 1):
        basis[:j, j - 1], basis[j, j - 1] = 1, -j
        basis[:, j - 1] *= (d + 1) * np.sqrt(2 / 3) / np.sqrt(j * (j + 1))
    reach = abs(basis @ corners).max() + d + 1
    kernel = Kernel('bi', 1.0, xy_std, rgb_std)
    if reach > 2**15 - 1:
        with pytest.raises(ValueError, match='16 bits'):
            kernel.check_picture(height, width, [0] * 3, [255] * 3)
    else:
        kernel.check_picture(height, width, [0] * 3, [255] * 3)


def test_missing_pydensecrf_is_named_and_the_rest_works(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pydensecrf', None)
    assert DenseCRF()(IMAGE, PROBABILITIES).shape == PROBABILITIES.shape
    with pytest.raises(ValueError, match='not installed: run `pip install pydensecrf2`'):
        DenseCRF(backend='pydensecrf')


def rare_classes() -> np.ndarray:
    """(30, 40, 50): the higher the class, the rarer."""
    p = make_probabilities(30, 40, 50, seed=4) * np.exp(-0.5 * np.arange(30, dtype=np.float32))[:, None, None]
    return p / p.sum(0)


@pytest.mark.parametrize('name', PARAMETERS)
@pytest.mark.parametrize('backend', BACKENDS)
def test_adaptive_classes_change_little(backend, name):
    image, p = make_image(40, 50), rare_classes()
    full = DenseCRF(**PARAMETERS[name], backend=backend, mode='all')(image, p)
    q = DenseCRF(**PARAMETERS[name], backend=backend)(image, p)
    assert 0 < abs(q - full).max() < 1e-4
    np.testing.assert_array_equal(q.argmax(0), full.argmax(0))
    np.testing.assert_allclose(q.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize('backend', BACKENDS)
def test_the_fast_mode_keeps_the_labels(backend):
    image, p = (
        make_image(90, 120),
        make_probabilities(21, 90, 120) * np.exp(-np.arange(21, dtype=np.float32))[:, None, None],
    )
    p /= p.sum(0)
    full = DenseCRF(backend=backend, mode='all')(image, p)
    q = DenseCRF(backend=backend, mode='fast')(image, p)
    assert 0 < abs(q - full).max() < 0.05
    assert (q.argmax(0) == full.argmax(0)).mean() > 0.9999


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('backend', BACKENDS)
def test_classes_that_are_unlikely_one_by_one_but_not_together(backend, mode):
    """150 classes of which 129 share a tenth of every pixel: left out by their largest probability, they would change
    a probability by 1e-2, and so would messages among those left out."""
    image = make_image(40, 50)
    rare = make_probabilities(129, 40, 50, seed=7) ** 0.1
    p = np.concatenate([0.9 * make_probabilities(21, 40, 50), 0.1 * rare / rare.sum(0)]).astype(np.float32)
    assert p[21:].max() < 1e-2 < p[21:].sum(0).min()
    full = DenseCRF(backend='torch', mode='all')(image, p)
    q = DenseCRF(backend=backend, mode=mode)(image, p)
    assert abs(q - full).max() < {'all': 1e-4, 'adaptive': 1e-4, 'fast': 2e-2}[mode]
    assert (q.argmax(0) == full.argmax(0)).mean() > 0.999


@pytest.mark.parametrize('weights', [{'bi_w': -1}, {'pos_w': [1] * 5 + [-1]}, {'pos_w': 1 - np.eye(6)}])
@pytest.mark.parametrize('backend', BACKENDS)
def test_nothing_is_left_out_where_classes_repel_themselves(backend, weights):
    full = DenseCRF(**weights, backend=backend, mode='all')(IMAGE, PROBABILITIES)
    for mode in 'adaptive', 'fast':
        np.testing.assert_array_equal(DenseCRF(**weights, backend=backend, mode=mode)(IMAGE, PROBABILITIES), full)


@pytest.mark.parametrize('backend', BACKENDS)
def test_nothing_or_everything_is_unlikely(backend):
    flat = np.full_like(PROBABILITIES, 1 / 6)
    for mode in MODES:
        np.testing.assert_allclose(DenseCRF(backend=backend, mode=mode)(IMAGE, flat), 1 / 6, rtol=1e-4)
        certain = np.full_like(PROBABILITIES, 1e-7)
        certain[2] = 1 - 5e-7
        q = DenseCRF(backend=backend, mode=mode)(IMAGE, certain)
        assert q[2].min() > 0.9999


def test_gpu_gives_the_answer_of_the_cpu():
    images = [make_image(60, 70), make_image(45, 51)]
    scores = [torch.from_numpy(make_probabilities(21, *image.shape[:2])) for image in images]
    crf = DenseCRF()
    with gpu():
        moved = [p.to('cuda') for p in scores]
        on_gpu, repeated = crf(images, moved), crf(images, moved)
        assert all(q.is_cuda and torch.equal(q, again) for q, again in zip(on_gpu, repeated, strict=True))
        on_gpu = [q.cpu() for q in on_gpu]
    for q, wanted in zip(on_gpu, crf(images, scores), strict=True):
        assert (abs(q - wanted) > 1e-3).float().mean() < 0.01
