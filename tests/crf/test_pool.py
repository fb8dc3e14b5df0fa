"""CRFPool: order, equality, errors and a clean end."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from crf_helpers import make_image, make_probabilities

from mmseg_deeplab.crf import CRFPool, DenseCRF

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


@pytest.mark.skipif(sys.platform == 'win32', reason='POSIX signals')
def test_a_dead_worker_is_reported_and_replaced(pool):
    dead = pool._idle.get()
    dead.process.kill()
    dead.process.wait()
    pool._idle.put(dead)
    assert pool.submit(IMAGES[0], SCORES[0]).result().shape == SCORES[0].shape  # the other worker
    with pytest.raises(RuntimeError, match='sheep.jpg: .* died with exit code -9'):
        pool.submit(IMAGES[0], SCORES[0], name='sheep.jpg').result()
    results = list(pool.map(IMAGES, SCORES))
    np.testing.assert_array_equal(results[-1], pool._crf(IMAGES[-1], SCORES[-1]))


@pytest.mark.skipif(sys.platform == 'win32', reason='POSIX signals')
def test_close_ends_workers_whose_pipes_a_forked_process_holds():
    pool = CRFPool(DenseCRF(), workers=1)
    worker = pool._idle.get()
    pool._idle.put(worker)
    holder = subprocess.Popen(['sleep', '60'], pass_fds=[worker.process.stdin.fileno()])
    try:
        pool.close()
        assert worker.process.returncode == 0
    finally:
        holder.kill()
        holder.wait()


def test_workers_end_with_a_killed_parent():
    """No orphans, whatever happens to the parent; nor does a script need a `__main__` guard."""
    script = (
        'import time\n'
        'from mmseg_deeplab.crf import CRFPool, DenseCRF\n'
        'pool = CRFPool(DenseCRF(), workers=1)\n'
        'print(pool._idle.get().process.pid, flush=True)\n'
        'time.sleep(600)\n'
    )
    # The worker inherits standard error, which is at its end when both are gone. Its process id would stay where
    # nobody collects orphans, as in a container whose first process is no init.
    parent = subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.kill()
    try:
        parent.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.kill(worker, signal.SIGKILL)
        pytest.fail(f'worker {worker} is still there')


def test_refuses_no_workers():
    with pytest.raises(ValueError, match='workers=0'):
        CRFPool(DenseCRF(), workers=0)
