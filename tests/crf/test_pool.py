"""CRFPool: order, equality, errors and a clean end."""

import numpy as np
import pytest
import torch
from crf_helpers import make_image, make_probabilities

from mmseg_deeplab.crf import CRFPool, DenseCRF, native

BACKENDS = ['torch'] + ['native'] * native.is_available()

SIZES = [(30 + 7 * (i % 3), 60 - 5 * i) for i in range(9)]
IMAGES = [make_image(*size, seed=i) for i, size in enumerate(SIZES)]
SCORES = [make_probabilities(4, *size, seed=i) for i, size in enumerate(SIZES)]


@pytest.fixture(scope='module')
def pool():
    with CRFPool(DenseCRF(iterations=3, backend='torch'), workers=2) as pool:
        yield pool


def test_order_and_results_are_those_of_one_worker(pool):
    results = list(pool.map(iter(IMAGES), iter(SCORES)))
    for image, p, q in zip(IMAGES, SCORES, results, strict=True):
        np.testing.assert_array_equal(q, pool._crf(image, p))


def test_types_come_back(pool):
    scores = torch.from_numpy(SCORES[0]).bfloat16()
    q = pool.submit(torch.from_numpy(IMAGES[0]), scores).result()
    assert q.dtype == torch.bfloat16
    assert torch.equal(q, pool._crf(IMAGES[0], scores))


def test_errors_name_the_image(pool):
    with pytest.raises(ValueError, match='cat.jpg: image is 30x60 .* 29x60'):
        pool.submit(IMAGES[0], SCORES[0][:, 1:], name='cat.jpg').result()
    with pytest.raises(ValueError, match='dog.jpg: .* uint8'):
        pool.submit(IMAGES[0] / 255, SCORES[0], name='dog.jpg').result()
    with pytest.raises(ValueError, match='horse: .* NaN'):
        list(pool.map(IMAGES[:2], [SCORES[0], SCORES[1] * np.nan], names=['cow', 'horse']))
    assert pool.submit(IMAGES[0], SCORES[0]).result().shape == SCORES[0].shape  # goes on


def test_errors_of_another_kind_name_the_image_and_keep_their_cause(pool, monkeypatch):
    def broken(image, scores):
        raise ZeroDivisionError('our fault')

    monkeypatch.setattr(pool, '_crf', broken)
    with pytest.raises(RuntimeError, match='sheep.jpg: our fault') as raised:
        pool.submit(IMAGES[0], SCORES[0], name='sheep.jpg').result()
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert not isinstance(raised.value, ValueError)


@pytest.mark.parametrize('backend', BACKENDS)
def test_threads_give_what_one_after_the_other_gives(backend):
    crf = DenseCRF(iterations=3, backend=backend)
    expected = [crf(*each) for each in zip(IMAGES, SCORES, strict=True)]
    with CRFPool(crf, workers=4) as pool:
        for _ in range(3):
            for q, wanted in zip(pool.map(IMAGES, SCORES), expected, strict=True):
                np.testing.assert_array_equal(q, wanted)


@pytest.mark.skipif(not native.is_available(), reason='the kernel was not built')
def test_the_native_kernel_leaves_the_lock_to_others():
    """While a call of some 100 ms computes, this thread goes on counting."""
    image, scores = make_image(300, 400), make_probabilities(21, 300, 400)
    with CRFPool(DenseCRF(iterations=40, mode='all'), workers=1) as pool:
        future = pool.submit(image, scores)
        counted = 0
        while not future.done():
            counted += 1
    assert counted > 1000


def test_a_pool_leaves_this_threads_torch_alone():
    before = torch.get_num_threads()
    with CRFPool(DenseCRF(iterations=1, backend='torch'), workers=2) as pool:
        pool.submit(IMAGES[0], SCORES[0]).result()
        assert torch.get_num_threads() == before


def test_workers_are_the_cpus_this_process_may_use(monkeypatch):
    monkeypatch.setattr('os.sched_getaffinity', lambda process: {0, 3, 5}, raising=False)
    with CRFPool(DenseCRF()) as pool:
        assert pool.workers == 3


def test_refuses_no_workers():
    with pytest.raises(ValueError, match='workers=0'):
        CRFPool(DenseCRF(), workers=0)
