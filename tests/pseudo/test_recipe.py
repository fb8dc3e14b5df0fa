"""Labels of activation maps and scores, against the definitions written out."""

import numpy as np
import pytest

from mmseg_deeplab.crf import DenseCRF, pydensecrf
from mmseg_deeplab.errors import UserError
from mmseg_deeplab.pseudo import ClassMaps, Recipe

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
IMAGE[:, :8] //= 3
CAM = RNG.random((2, 12, 17)).astype(np.float32)
KEYED = ClassMaps(CAM, np.array([7, 14]), keyed=True)
CRF = DenseCRF(10, 3, 3, 10, 50, 5)


def test_the_background_by_a_threshold():
    labels = Recipe(21, threshold=0.6).labels(KEYED, IMAGE)
    expected = np.where(CAM.max(0) <= 0.6, 0, np.where(CAM[0] >= CAM[1], 8, 15))
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.uint8 and set(np.unique(labels)) == {0, 8, 15}


def test_the_background_by_a_power():
    labels = Recipe(21, power=2).labels(KEYED, IMAGE)
    expected = np.where((1 - CAM.max(0)) ** 2 >= CAM.max(0), 0, np.where(CAM[0] >= CAM[1], 8, 15))
    np.testing.assert_array_equal(labels, expected)
    assert set(np.unique(labels)) == {0, 8, 15}


def test_an_array_of_all_classes_is_the_same_as_a_dict_of_those_that_are_there():
    full = np.zeros((20, 12, 17), np.float32)
    full[[7, 14]] = CAM
    for recipe in (Recipe(21, threshold=0.3), Recipe(21, power=4), Recipe(21, power=4, certainty=0.7)):
        for crf in (None, CRF):
            expected = recipe.labels(KEYED, IMAGE, crf)
            np.testing.assert_array_equal(recipe.labels(ClassMaps(full), IMAGE, crf), expected)
            swapped = ClassMaps(CAM[::-1], np.array([14, 7]))
            np.testing.assert_array_equal(recipe.labels(swapped, IMAGE, crf), expected)


def test_maps_of_any_size_get_the_pictures_bilinearly():
    """A ramp keeps its values between the centres of its pixels, and is constant beyond them."""
    ramp = np.linspace(0, 1, 5, dtype=np.float32)[None, None].repeat(3, 1)
    _, scores = Recipe(2, threshold=0.5).scores(ClassMaps(ramp), (6, 10), 'ramp')
    centres = np.clip((np.arange(10) + 0.5) / 2 - 0.5, 0, 4) / 4
    np.testing.assert_allclose(scores[1], np.tile(centres, (6, 1)), atol=1e-6)
    assert (scores[0] == 0.5).all()


def test_probabilities_and_logits_hold_a_background():
    logits = RNG.normal(size=(21, 12, 17)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(0)
    expected = logits.argmax(0)
    for dtype in (np.float32, np.float16):
        maps = ClassMaps(probabilities.astype(dtype).astype(np.float32))
        assert (Recipe(21).labels(maps, IMAGE) == expected).mean() > (0.999 if dtype == np.float32 else 0.98)
    np.testing.assert_array_equal(Recipe(21, logits=True).labels(ClassMaps(logits), IMAGE), expected)
    by_class = ClassMaps(probabilities[[0, 3]] / probabilities[[0, 3]].sum(0), np.array([0, 3]))
    assert set(np.unique(Recipe(21).labels(by_class, IMAGE))) == {0, 3}
    # The softmax comes after the change of size, as the network's own does.
    small = ClassMaps(np.array([[[0.0, 0.0]], [[0.0, 40.0]]], np.float32))
    _, scores = Recipe(2, logits=True).scores(small, (1, 4), 'small')
    np.testing.assert_allclose(scores[1, 0], 1 / (1 + np.exp(-np.array([0.0, 10, 30, 40]))), atol=1e-6)


def test_the_crf_on_scores_and_on_labels():
    scores = np.concatenate([(1 - CAM.max(0, keepdims=True)) ** 4, CAM])
    expected = np.array([0, 8, 15])[CRF(IMAGE, scores).argmax(0)]
    np.testing.assert_array_equal(Recipe(21, power=4).labels(KEYED, IMAGE, CRF), expected)
    first = scores.argmax(0)
    hard = np.where(first == np.arange(3)[:, None, None], 0.7, 0.15).astype(np.float32)
    expected = np.array([0, 8, 15])[CRF(IMAGE, hard).argmax(0)]
    np.testing.assert_array_equal(Recipe(21, power=4, certainty=0.7).labels(KEYED, IMAGE, CRF), expected)
    mask = np.array([0, 8, 15], np.uint8)[first]
    np.testing.assert_array_equal(Recipe(21, certainty=0.7).labels(mask, IMAGE, CRF), expected)
    assert (expected != mask).any(), 'the CRF has something to do'


@pytest.mark.skipif(not pydensecrf.is_installed(), reason='pydensecrf is not installed')
def test_labels_are_refined_as_the_reference_implementation_does_it():
    import pydensecrf.densecrf as dcrf
    from pydensecrf.utils import unary_from_labels

    first = np.concatenate([np.full((1, 12, 17), 0.3, np.float32), CAM]).argmax(0)
    reference = dcrf.DenseCRF2D(17, 12, 3)
    reference.setUnaryEnergy(unary_from_labels(first, 3, gt_prob=0.7, zero_unsure=False))
    reference.addPairwiseGaussian(sxy=3, compat=3)
    reference.addPairwiseBilateral(sxy=50, srgb=5, rgbim=np.ascontiguousarray(IMAGE), compat=10)
    expected = np.array([0, 8, 15])[np.argmax(np.array(reference.inference(10)), 0).reshape(12, 17)]
    labels = Recipe(21, threshold=0.3, certainty=0.7).labels(KEYED, IMAGE, CRF)
    assert (labels == expected).mean() > 0.99
    assert (expected != np.array([0, 8, 15])[first]).any()


def test_void_labels_can_be_refined():
    mask = np.full((12, 17), 255, np.uint8)
    mask[:, :6], mask[:, 12:] = 8, 0
    labels = Recipe(21, certainty=0.9).labels(mask, IMAGE, CRF)
    assert set(np.unique(labels)) == {0, 8}
    np.testing.assert_array_equal(Recipe(21).labels(mask, IMAGE), mask)
    one = np.where(mask == 8, 8, 255).astype(np.uint8)
    assert (Recipe(21, certainty=0.9).labels(one, IMAGE, CRF) == 8).all()


def test_improbable_labels_become_void():
    probabilities = np.stack([np.linspace(0, 1, 17, dtype=np.float32)] * 12)[None]
    maps = ClassMaps(np.concatenate([1 - probabilities, probabilities]))
    labels = Recipe(2, unsure_below=0.8).labels(maps, IMAGE)
    expected = np.where(probabilities[0] >= 0.8, 1, np.where(probabilities[0] <= 0.2, 0, 255))
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize('recipe', [Recipe(21, threshold=0.3), Recipe(21, power=4), Recipe(21, power=4, certainty=0.7)])
def test_a_picture_without_foreground_is_background(recipe):
    none = ClassMaps(np.zeros((0, 1, 1), np.float32), np.zeros(0, np.int64))
    zero = ClassMaps(np.zeros((1, 3, 4), np.float32), np.array([7]))
    negative = ClassMaps(np.full((1, 3, 4), -0.2, np.float32), np.array([7]))
    for maps in (none, zero, negative):
        assert (recipe.labels(maps, IMAGE, CRF) == 0).all()


@pytest.mark.parametrize(
    ('recipe', 'maps', 'message'),
    [
        (Recipe(21, threshold=0.3), ClassMaps(CAM * 9, np.array([7, 14])), r'up to [78]\.\d+, expected 0 to 1'),
        (Recipe(21, threshold=0.3), ClassMaps(np.zeros((21, 2, 2))), r'21 maps, but there are 20 .*leave threshold'),
        (Recipe(21), ClassMaps(np.zeros((20, 2, 2))), r'20 maps, but there are 21 .*give a threshold or a power'),
        (Recipe(21, power=4), ClassMaps(CAM), r'2 maps, but there are 20 foreground classes$'),
        (Recipe(21), KEYED, r'maps of foreground classes: give a threshold or a power'),
        (Recipe(21), ClassMaps(CAM, np.array([0, 14])), r'add up to .* so they are no probabilities'),
        (Recipe(21), ClassMaps(CAM, np.array([7, 14])), r'holds no background, class 0'),
        (Recipe(21, power=4), ClassMaps(CAM, np.array([7, 20])), r'keys \[7, 20\], but foreground classes are 0 to 19'),
        (Recipe(21, power=4), ClassMaps(CAM, np.array([7, 7])), r'keys \[7, 7\], .*each once'),
        (Recipe(21, power=4), ClassMaps(CAM, np.array([-1, 7])), r'keys \[-1, 7\]'),
        (Recipe(21), ClassMaps(np.full((21, 2, 2), 3.0, np.float32)), r'no probabilities.*give logits'),
        (Recipe(21, power=4), np.zeros((12, 17), np.uint8), r'holds labels, to which threshold'),
        (Recipe(21), np.zeros((12, 16), np.uint8), r'has \(12, 16\) pixels, but its picture \(12, 17\)'),
        (Recipe(21), np.full((12, 17), 21, np.uint8), r'the label 21, but there are 21 classes'),
    ],
)  # fmt: skip
def test_maps_that_do_not_fit_are_named(recipe, maps, message):
    with pytest.raises(UserError, match=message) as error:
        recipe.labels(maps, IMAGE, where='dog.npy')
    assert 'dog.npy' in str(error.value)


def test_labels_need_a_certainty():
    with pytest.raises(UserError, match='say how certain they are for the CRF, such as --certainty 0.7'):
        Recipe(21).labels(np.zeros((12, 17), np.uint8), IMAGE, CRF)
    hard = ClassMaps((CAM[:1] > 0.5).astype(np.float32), np.array([7]))
    with pytest.raises(UserError, match='holds only zeros and ones, .* such as --certainty 0.7'):
        Recipe(21, power=1).labels(hard, IMAGE, CRF)
    assert set(np.unique(Recipe(21, power=1, certainty=0.7).labels(hard, IMAGE, CRF))) <= {0, 8}


@pytest.mark.parametrize(
    'wrong',
    [
        dict(threshold=0.0), dict(threshold=1.0), dict(threshold=float('nan')), dict(power=0.0), dict(power=-1.0),
        dict(power=float('inf')), dict(power=float('nan')), dict(certainty=1.0), dict(unsure_below=1.5),
        dict(threshold=0.3, power=4.0), dict(threshold=0.3, logits=True),
    ],
)  # fmt: skip
def test_wrong_recipes(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        Recipe(21, **wrong)
    with pytest.raises(UserError, match='1 classes'):
        Recipe(1)
