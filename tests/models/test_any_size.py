"""Properties that hold for pictures of any size from 1 x 1 on: of every head, the dense CRF and tiles."""

import functools

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from model_helpers import randomize, segmentor
from test_traced_sizes import NETWORKS

from mmseg_deeplab.crf import DenseCRF
from mmseg_deeplab.models.windows import blend, smooth_weights, tile_spans

hypothesis = pytest.importorskip('hypothesis', reason='hypothesis is not installed; the extra "test" brings it')
given, st = hypothesis.given, hypothesis.strategies
# The same examples in every run, and nothing is written.
PHASES = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # a smaller example is not looked for
many = hypothesis.settings(max_examples=60, derandomize=True, database=None, deadline=None, phases=PHASES)
few = hypothesis.settings(many, max_examples=6)

sides = st.integers(1, 50)
seeds = st.integers(0, 2**32 - 1)


def samples(height, width, number):
    """Truth of two classes of three and void, in every picture."""
    label = torch.arange(height * width).reshape(1, height, width) % 3
    label[label == 2] = 255
    meta = dict(img_shape=(height, width), ori_shape=(height, width), pad_shape=(height, width), padding_size=[0] * 4)
    return [SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=label.clone())) for _ in range(number)]


@functools.cache
def network(name):
    backbone, head, options = NETWORKS[name]
    torch.manual_seed(0)
    model = segmentor(backbone, head, frozen_bn=('backbone', 'decode_head'), frozen_bn_affine=False, **options)
    return randomize(model)


@pytest.mark.parametrize('name', NETWORKS)
@few
@hypothesis.example(1, 1, 0)
@given(sides, sides, seeds)
def test_every_head(name, height, width, seed):
    """Labels and scores at the picture's size, the same alone as in a batch; finite losses and gradients."""
    model = network(name).eval()
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits, alone = model.encode_decode(images, []), model.encode_decode(images[1:], [])
        found = model.predict(images, samples(height, width, 2))
    assert logits.shape == (2, 3, height, width) and logits.isfinite().all()
    torch.testing.assert_close(logits[1:], alone, rtol=1e-4, atol=1e-5 * alone.abs().max().item())
    labels = torch.stack([sample.pred_sem_seg.data[0].long() for sample in found])
    chosen = logits.gather(1, labels[:, None])[:, 0]
    assert (chosen >= logits.amax(1) - 1e-5 * logits.abs().max()).all()
    height, width = height // 8 * 8 + 1, width // 8 * 8 + 1  # v1 and v2 take no other crops
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    model.train().zero_grad()
    losses = model.loss(images, samples(height, width, 2))
    total = sum(value for key, value in losses.items() if 'loss' in key)
    total.backward()
    assert total.isfinite() and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@many
@given(sides, sides, st.integers(2, 6), seeds)
def test_the_dense_crf(height, width, classes, seed):
    """Probabilities; Potts' model knows no order of classes; and of equal scores in an even picture nothing changes."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    logits = rng.normal(size=(classes, height, width)).astype(np.float32)
    crf = DenseCRF(iterations=3, input='logits')
    p = crf(image, logits)
    assert p.shape == logits.shape and np.isfinite(p).all() and p.min() >= 0
    np.testing.assert_allclose(p.sum(0), 1, atol=1e-5)
    order = rng.permutation(classes)
    np.testing.assert_allclose(crf(image, logits[order]), p[order], atol=2e-3)
    even = np.full_like(logits, 0.5)
    np.testing.assert_allclose(crf(np.zeros_like(image), even), 1 / classes, atol=1e-5)


@many
@given(st.integers(1, 400), st.integers(1, 400), st.integers(8, 90), st.integers(8, 90), st.integers(0, 5), seeds)
def test_tiles(height, width, tile_height, tile_width, cells, seed):
    """They cover the picture from the grid on, share enough, and blended parts of one map are the map."""
    grid = 8
    rows = tile_spans(height, tile_height, cells * grid, grid)
    columns = tile_spans(width, tile_width, cells * grid, grid)
    for spans, length, tile in ((rows, height, tile_height), (columns, width, tile_width)):
        assert spans[0][0] == 0 and spans[-1][1] == length
        assert all(0 < stop - start <= tile + cells * grid and start % grid == 0 for start, stop in spans)
        assert all(above[1] - below[0] >= cells * grid for above, below in zip(spans, spans[1:], strict=False))
    whole = torch.randn(2, height, width, generator=torch.Generator().manual_seed(seed))
    parts = (whole[:, top:bottom, left:right].clone() for top, bottom in rows for left, right in columns)
    found = torch.full_like(whole, float('nan'))
    for top, left, part in blend(parts, rows, columns, smooth_weights(rows), smooth_weights(columns)):
        place = found[:, top : top + part.shape[1], left : left + part.shape[2]]
        assert place.isnan().all()  # each pixel once
        place.copy_(part)
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
