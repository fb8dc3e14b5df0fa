"""Pictures of any bands and type, kernels on any features, hard labels: beside the reference's general functions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from crf_helpers import make_image, make_probabilities
from PIL import Image

from mmseg_deeplab.crf import CRFPool, DenseCRF, native

OWN = ['torch', pytest.param('native', marks=pytest.mark.skipif(not native.is_available(), reason='was not built'))]
RNG = np.random.default_rng(5)


def general(features, p, w, iterations=10, positions=None) -> np.ndarray:
    """(C, ...) from pydensecrf's addPairwiseEnergy, for one kernel, and a second one on the positions."""
    densecrf = pytest.importorskip('pydensecrf.densecrf', reason='pydensecrf is the reference: pip install pydensecrf2')
    crf = densecrf.DenseCRF(p[0].size, len(p))
    crf.setUnaryEnergy(np.ascontiguousarray(-np.log(p.clip(1e-5, 1)).reshape(len(p), -1)))
    if positions is not None:
        crf.addPairwiseEnergy(np.ascontiguousarray(positions, np.float32), compat=3)
    crf.addPairwiseEnergy(np.ascontiguousarray(features, np.float32), compat=w)
    return np.array(crf.inference(iterations)).reshape(p.shape)


def features_of(image, xy, rgb) -> np.ndarray:
    """(d, N): x, y and the values of (H, W, B), each divided by its standard deviation in float32."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    bands = image.reshape(height, width, -1).astype(np.float32)
    each = [x / np.float32(xy[0]), y / np.float32(xy[1])]
    rgb = np.broadcast_to(np.asarray(rgb, np.float32), bands.shape[2:])
    each += [bands[..., k] / rgb[k] for k in range(bands.shape[2])]
    return np.stack(each).reshape(len(each), -1)


def picture(kind: str) -> tuple[np.ndarray, float | tuple]:
    """A picture and a standard deviation in its units."""
    rgb = make_image(31, 42)
    return {
        'grey': (rgb[..., 0], 6.0),
        'one band': (rgb[..., :1], 6.0),
        'two bands': (rgb[..., :2], (6.0, 20.0)),
        'rgb, one deviation a channel': (rgb, (5.0, 9.0, 30.0)),
        'five bands': (np.concatenate([rgb, rgb[..., ::-2]], -1), 15.0),
        '16 bits': (rgb.astype(np.uint16) * 200, 2000.0),
        'float': (rgb.astype(np.float32) / 255, 0.05),
        'double, below zero': (rgb.astype(np.float64) - 128, 8.0),
        'half': ((rgb / 255).astype(np.float16), 0.05),
    }[kind]


KINDS = ['grey', 'one band', 'two bands', 'rgb, one deviation a channel', 'five bands', '16 bits', 'float', 'half']
KINDS.append('double, below zero')


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('backend', [*OWN, 'pydensecrf'])
def test_pictures(kind, backend):
    image, std = picture(kind)
    p = make_probabilities(4, 31, 42)
    expected = general(features_of(image, (15, 25), std), p, 5, positions=features_of(image, (2, 3), 1)[:2])
    crf = DenseCRF(pos_xy_std=(2, 3), bi_w=5, bi_xy_std=(15, 25), bi_rgb_std=std, backend=backend, mode='all')
    assert abs(expected - p).max() > 0.1
    assert abs(crf(image, p) - expected).max() < 1e-4
    if image.dtype != np.uint16:
        assert abs(crf(torch.from_numpy(image), torch.from_numpy(p)).numpy() - expected).max() < 1e-4


def test_grey_is_rgb_with_a_larger_deviation():
    """Repeating a channel three times multiplies colour distances by the root of three."""
    grey, p = make_image(30, 40)[..., 0], make_probabilities(4, 30, 40)
    one = DenseCRF(bi_rgb_std=6, backend='torch')(grey, p)
    y, x = np.mgrid[:30, :40]
    features = np.stack([x / 67, y / 67, grey / 6.0]).reshape(3, -1)
    position = np.stack([x, y]).reshape(2, -1)
    by_features = DenseCRF.from_features([position, features], [3, 4], backend='torch')(p)
    assert abs(one - by_features).max() < 1e-4


@pytest.mark.parametrize('w', [4, 'vector', 'matrix'])
@pytest.mark.parametrize('d', [1, 2, 3, 4, 5, 6, 9])
@pytest.mark.parametrize('backend', [*OWN, 'pydensecrf'])
def test_features_of_any_dimension(backend, d, w):
    p = make_probabilities(5, 23, 31)
    features = np.cumsum(np.random.default_rng(d).normal(0, 0.2, (d, 23 * 31)), 1).astype(np.float32)
    w = {'vector': -np.arange(1.0, 6), 'matrix': 3 * (1 - np.eye(5))}.get(w, w)
    compat = w if np.isscalar(w) else np.float32(w)
    expected = general(features, p, compat)
    q = DenseCRF.from_features(features, w, backend=backend, mode='all')(p)
    assert abs(q - expected).max() < 1e-4
    assert abs(expected - p).max() > 0.05


@pytest.mark.parametrize('backend', OWN)
def test_a_volume(backend):
    """(C, D, H, W) with positions in three dimensions and one value a voxel."""
    p = make_probabilities(3, 12, 99).reshape(3, 12, 9, 11)
    z, y, x = np.mgrid[:12, :9, :11].astype(np.float32)
    value = RNG.normal(0, 1, (12, 9, 11)).astype(np.float32)
    features = np.stack([x / 3, y / 3, z / 2, value / 0.5]).reshape(4, -1)
    crf = DenseCRF.from_features(torch.from_numpy(features), 2, backend=backend, iterations=5)
    q = crf(torch.from_numpy(p))
    assert q.shape == p.shape
    assert abs(q.numpy() - general(features, p, 2, iterations=5)).max() < 1e-4
    for step, state in enumerate(crf.steps(p)):
        np.testing.assert_allclose(
            state, DenseCRF.from_features(features, 2, backend=backend, iterations=step)(p), atol=1e-6
        )


@pytest.mark.parametrize(
    ('features', 'w', 'message'),
    [
        (np.zeros(5), 1, r'shape \(5,\)'),
        (np.zeros((0, 5)), 1, r'shape \(0, 5\)'),
        (np.full((2, 5), np.nan), 1, 'NaN'),
        (np.full((2, 5), 1e7), 1, '16 bits'),
        (np.zeros((40, 5)), 1, '40 dimensions'),
        (['a', 'b'], [1, 2], 'type'),
        ([np.zeros((2, 5))], 3, 'one weight for each'),
        ([np.zeros((2, 5)), np.zeros((2, 6))], [1, 2], r'\[5, 6\] pixels'),
    ],
)
def test_refuses_features(features, w, message):
    with pytest.raises(ValueError, match=message):
        DenseCRF.from_features(features, w)


def test_refuses_scores_of_other_pixels():
    with pytest.raises(ValueError, match='features are of 35 pixels'):
        DenseCRF.from_features(np.zeros((2, 35)))(make_probabilities(3, 5, 6))


@pytest.mark.parametrize('certainty', [0.5, 0.7, 0.95])
@pytest.mark.parametrize('unsure', [None, 0, 255])
def test_labels(unsure, certainty):
    utils = pytest.importorskip('pydensecrf.utils', reason='pydensecrf is the reference: pip install pydensecrf2')
    labels = RNG.integers(0, 5, (13, 17))
    if unsure == 0:
        labels = RNG.integers(0, 6, (13, 17))  # 0 could be anything, 1 to 5 are the classes
    energy = utils.unary_from_labels(labels, 5, certainty, zero_unsure=unsure == 0)
    expected = np.exp(-energy).reshape(5, 13, 17)
    if unsure == 255:
        labels[3:6, 4:9] = 255
        expected[:, 3:6, 4:9] = 1 / 5
    p = DenseCRF.from_labels(labels, 5, certainty, unsure)
    np.testing.assert_allclose(p, expected, rtol=1e-5)
    assert torch.equal(DenseCRF.from_labels(torch.from_numpy(labels), 5, certainty, unsure), torch.from_numpy(p))
    q = DenseCRF(iterations=2)(make_image(13, 17), p)
    np.testing.assert_allclose(q.sum(0), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ('labels', 'arguments', 'message'),
    [
        (np.array([[0, 5]]), {}, 'labels hold 5, but classes are 0 to 4: .* unsure'),
        (np.array([[0, -1]]), {}, 'labels hold -1'),
        (np.array([[0, 6]]), {'unsure': 0}, 'classes are 1 to 5'),
        (np.array([[0.0, 1.0]]), {}, 'whole numbers'),
        (np.array([[0, 1]]), {'certainty': 1}, 'certainty=1'),
        (np.array([[0, 1]]), {'certainty': 0}, 'certainty=0'),
    ],
)
def test_refuses_labels(labels, arguments, message):
    with pytest.raises(ValueError, match=message):
        DenseCRF.from_labels(labels, 5, **arguments)


def test_bfloat16_is_said_once(recwarn):
    from mmseg_deeplab.crf import inputs

    inputs._say_bfloat16.cache_clear()
    for _ in range(3):
        DenseCRF(iterations=1)(make_image(6, 7), torch.from_numpy(make_probabilities(3, 6, 7)).bfloat16())
    assert len([w for w in recwarn if 'bfloat16' in str(w.message)]) == 1


def test_hard_labels_and_single_channels_name_the_remedy():
    image, labels = make_image(8, 9), RNG.integers(0, 4, (8, 9))
    one_hot = np.eye(4, dtype=np.float32)[labels].transpose(2, 0, 1)
    for kind in 'probabilities', 'logits':
        with pytest.raises(ValueError, match='from_labels'):
            DenseCRF(input=kind)(image, one_hot)
        with pytest.raises(ValueError, match=r'one channel.*\(1 - p, p\)'):
            DenseCRF(input=kind)(image, one_hot[:1])
    with pytest.raises(ValueError, match='float type.*from_labels'):
        DenseCRF()(image, one_hot.astype(np.uint8))
    with pytest.raises(ValueError, match='all zero'):
        DenseCRF()(image, one_hot * 0)
    DenseCRF()(image, DenseCRF.from_labels(labels, 4))  # the remedy


@pytest.mark.parametrize('backend', [*OWN, 'pydensecrf'])
def test_byte_order_and_bfloat16_change_nothing(backend):
    image, p = make_image(12, 17), make_probabilities(3, 12, 17)
    wide, crf = image.astype(np.uint16) * 257, DenseCRF(bi_rgb_std=900, backend=backend)
    np.testing.assert_array_equal(crf(wide.astype('>u2'), p), crf(wide, p))
    np.testing.assert_array_equal(crf(wide.astype('>f4'), p.astype('>f4')), crf(wide.astype(np.float32), p))
    features = torch.from_numpy(RNG.normal(0, 1, (2, 12 * 17))).bfloat16()
    expected = DenseCRF.from_features(features.float(), backend=backend)(p)
    np.testing.assert_array_equal(DenseCRF.from_features(features, backend=backend)(p), expected)


@pytest.mark.parametrize('backend', [*OWN, 'pydensecrf'])
def test_features_take_no_image(backend):
    p = make_probabilities(3, 5, 6)
    crf = DenseCRF.from_features(np.zeros((2, 30)), backend=backend)
    for run in (crf, lambda *each: list(crf.steps(*each))):
        with pytest.raises(ValueError, match='takes the scores alone'):
            run(make_image(5, 6), p)
    with CRFPool(crf, 2) as pool:
        np.testing.assert_array_equal(next(pool.map([None], [p])), crf(p))
    first, second = crf([p, p[:, ::-1]])
    np.testing.assert_array_equal(first, crf(p))
    np.testing.assert_array_equal(second, crf(p[:, ::-1]))


@pytest.mark.parametrize('backend', [*OWN, 'pydensecrf'])
@pytest.mark.parametrize('mode', ['adaptive', 'fast'])
def test_features_and_many_unlikely_classes(backend, mode):
    p = make_probabilities(30, 23, 31) ** 3
    p /= p.sum(0)
    features = np.cumsum(np.random.default_rng(1).normal(0, 0.2, (4, 23 * 31)), 1).astype(np.float32)
    q = DenseCRF.from_features(features, 2, backend=backend, mode=mode)(p)
    expected = general(features, p, 2)
    assert abs(q - expected).max() < {'adaptive': 1e-4, 'fast': 4e-2}[mode]
    assert (q.argmax(0) == expected.argmax(0)).all()


@pytest.mark.parametrize('unsure', ['void', [255, 254], 255.0, True])
def test_refuses_what_is_no_label_for_unsure(unsure):
    with pytest.raises(ValueError, match='unsure=.*one label'):
        DenseCRF.from_labels(np.array([[0, 255]]), 256, unsure=unsure)


def test_refuses_labels_of_no_integer_type():
    for labels in torch.zeros(2, 3).bfloat16(), torch.zeros(2, 3), [[0.5, 1]]:
        with pytest.raises(ValueError, match='whole numbers'):
            DenseCRF.from_labels(labels, 3)


def test_hard_labels_with_void_are_hard_labels():
    labels = RNG.integers(0, 4, (8, 9))
    one_hot = np.eye(4, dtype=np.float32)[labels].transpose(2, 0, 1)
    one_hot[:, :3] = 0  # void
    with pytest.raises(ValueError, match='hard labels.*from_labels'):
        DenseCRF()(make_image(8, 9), one_hot)


def test_what_is_no_array_and_classes_last_name_the_remedy():
    image, p = make_image(8, 9), make_probabilities(4, 8, 9)
    for other in Image.fromarray(image), 'image.jpg', Path('image.jpg'), None:
        with pytest.raises(ValueError, match=rf'image .*{type(other).__name__}.*numpy.asarray'):
            DenseCRF()(other, p)
    with pytest.raises(ValueError, match=r'\(8, 9, 4\): expected the classes first'):
        DenseCRF()(image, p.transpose(1, 2, 0))


@pytest.mark.parametrize('backend', OWN)
@pytest.mark.parametrize('std', [5, 40])
def test_more_bands_than_64_bits_can_number(backend, std):
    image, p = RNG.integers(0, 256, (20, 27, 13)).astype(np.uint8), make_probabilities(4, 20, 27)
    reference = DenseCRF(bi_rgb_std=std, backend='pydensecrf')(image, p)
    np.testing.assert_allclose(DenseCRF(bi_rgb_std=std, backend=backend)(image, p), reference, atol=2e-5)
