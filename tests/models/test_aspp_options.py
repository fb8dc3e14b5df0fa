"""Options of ASPP: rates in series see the cells that their sums reach, the non-local branch takes a mean of all."""

from itertools import product

import pytest
import torch
from mmcv.cnn import NonLocal2d
from model_helpers import randomize, segmentor

from mmseg_deeplab.errors import UserError
from mmseg_deeplab.models.layers import ASPP
from mmseg_deeplab.visualization.receptive_field import connections, coverage, inspect_fields, measure_field

HEAD = dict(type='DeepLabV3Head', channels=8, rates=(), pool_bins=())


@pytest.mark.parametrize('rates, share', [((1, 2, 5), 1.0), ((2, 2, 2), 49 / 169), ((1, 2), 1.0)])
def test_rates_in_series_see_the_cells_that_their_sums_reach(rates, share):
    aspp = ASPP(4, 4, (), pool_bins=(), serial_rates=rates)
    branch = connections(aspp.branches[-1])
    x = torch.randn(1, 4, 33, 33).double()
    seen = measure_field(branch, x, str(len(rates) - 1))
    expected = torch.zeros(33, 33, dtype=torch.bool)
    steps = [sum(s) for s in product(*[(-rate, 0, rate) for rate in rates])]  # by hand: one step of each rate
    for row, column in product(set(steps), repeat=2):
        expected[16 + row, 16 + column] = True
    assert torch.equal(torch.from_numpy(seen > 0), expected)
    assert coverage(seen) == pytest.approx(share)


@torch.no_grad()
def test_the_non_local_branch_is_its_definition():
    torch.manual_seed(0)
    aspp = randomize(ASPP(6, 8, (), pool_bins=(), non_local=True)).eval()
    reduce, block = aspp.branches[-1]
    assert isinstance(block, NonLocal2d)
    x = torch.randn(1, 6, 5, 4)
    y = reduce(x)
    theta, phi, g = (conv(y).flatten(2)[0].t() for conv in (block.theta, block.phi, block.g))
    means = torch.empty(20, 4)
    for i in range(20):  # equation 1, cell by cell, with f and C of equations 3 and 4
        likeness = torch.stack([torch.exp(theta[i] @ phi[j]) for j in range(20)])
        means[i] = sum(likeness[j] * g[j] for j in range(20)) / likeness.sum()
    expected = y + block.conv_out(means.t().reshape(1, 4, 5, 4))  # equation 6
    torch.testing.assert_close(aspp.branches[-1](x), expected, atol=1e-4, rtol=1e-4)


def test_both_are_options_of_the_heads_and_learn():
    for options in (dict(serial_rates=(1, 2, 5)), dict(non_local=True), dict(serial_rates=(1, 2), non_local=True)):
        for kind in ('DeepLabV3Head', 'DeepLabV3PlusHead'):
            model = segmentor(dict(type='DeepLabMobileNetV2', width=0.25), dict(HEAD, type=kind, **options))
            logits = model(torch.randn(2, 3, 65, 65))
            logits.square().mean().backward()
            assert all(p.grad is not None for p in model.decode_head.aspp.parameters())
            assert len(model.decode_head.aspp.branches) == 1 + len(options)
    with pytest.raises(UserError, match='serial_rates'):
        ASPP(4, 4, (), serial_rates=(1, 0))


def test_the_picture_has_a_column_for_each():
    head = dict(HEAD, serial_rates=(2, 2, 2), non_local=True)
    model = segmentor(dict(type='DeepLabMobileNetV2', width=0.25), head, output_stride=8).eval()
    _, figure = inspect_fields(model, 257)
    titles = [axis.get_title() for axis in figure.axes]
    assert any('serial branch' in title and f'by formula 13, {49 / 169:.0%} connected' in title for title in titles)
    assert any('non-local branch' in title and 'whole image, 100% connected' in title for title in titles)
