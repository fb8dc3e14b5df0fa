"""The one rule that turns output stride into strides and rates, against the rates that the papers state."""

import pytest

from mmseg_deeplab.models import aspp_rates, atrous_plan
from mmseg_deeplab.models.atrous import check_output_stride, multi_grid_rates

RESNET50 = [1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1]  # strides of its units, the first of a block strides
XCEPTION65 = [2, 2, 2, *[1] * 16, 2, 1]


def test_nothing_changes_at_the_nominal_stride():
    assert atrous_plan(RESNET50, 32, stem_stride=4) == [(s, 1) for s in RESNET50]


@pytest.mark.parametrize(
    ('output_stride', 'block3', 'block4'),
    [
        # v3, section 3.1: block4 at twice the rate at 16; block3 at 2 and block4 at 4 at 8. The first unit of a block
        # that lost its stride keeps the rate before it.
        (16, [(2, 1)] + [(1, 1)] * 5, [(1, 1), (1, 2), (1, 2)]),
        (8, [(1, 1)] + [(1, 2)] * 5, [(1, 2), (1, 4), (1, 4)]),
    ],
)
def test_the_unit_that_lost_its_stride_keeps_the_old_rate(output_stride, block3, block4):
    plan = atrous_plan(RESNET50, output_stride, stem_stride=4)
    assert plan[7:13] == block3
    assert plan[13:] == block4


def test_caffe_gives_the_new_rate_to_all_units_of_a_block():
    plan = atrous_plan(RESNET50, 8, stem_stride=4, rate_of_lost_stride='new')
    assert plan[7:] == [(1, 2)] * 6 + [(1, 4)] * 3  # v2's prototxt: rate 2 in res4, 4 in res5


@pytest.mark.parametrize(
    ('output_stride', 'entry', 'middle', 'exit_flow'),
    [
        (16, [(2, 1), (2, 1), (2, 1)], (1, 1), [(1, 1), (1, 2)]),
        (8, [(2, 1), (2, 1), (1, 1)], (1, 2), [(1, 2), (1, 4)]),
    ],
)
def test_xception_has_the_rates_of_the_release(output_stride, entry, middle, exit_flow):
    plan = atrous_plan(XCEPTION65, output_stride, stem_stride=2)
    assert plan == [*entry, *[middle] * 16, *exit_flow]


@pytest.mark.parametrize('output_stride', [3, 12, 24, 64])
def test_an_output_stride_that_the_network_does_not_pass_is_refused_with_those_that_it_does(output_stride):
    with pytest.raises(ValueError, match=rf'output_stride={output_stride} cannot be reached.*\[8, 16, 32\]'):
        atrous_plan(RESNET50, output_stride, stem_stride=4)


@pytest.mark.parametrize('output_stride', [4, 12, 64, True, '16', None])
def test_only_published_output_strides_are_allowed(output_stride):
    with pytest.raises(ValueError, match=r'choose one of \(8, 16, 32\)'):
        check_output_stride(output_stride)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="choose 'old' or 'new'"):
        atrous_plan(RESNET50, 16, rate_of_lost_stride='newer')


@pytest.mark.parametrize(('block_rate', 'rates'), [(1, [1, 2, 4]), (2, [2, 4, 8]), (4, [4, 8, 16])])
def test_multi_grid_multiplies_the_rate_of_the_block(block_rate, rates):
    assert multi_grid_rates(block_rate, (1, 2, 4), 3) == rates  # v3, section 3.2.1


@pytest.mark.parametrize('multi_grid', [(1, 2), (1, 2, 4, 8), (1, 0, 2), ()])
def test_a_multi_grid_of_another_length_or_without_a_rate_is_refused(multi_grid):
    with pytest.raises(ValueError, match='one positive factor for each of the 3 units'):
        multi_grid_rates(2, multi_grid, 3)


@pytest.mark.parametrize(('output_stride', 'rates'), [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])])
def test_aspp_rates_double_when_the_output_stride_halves(output_stride, rates):
    assert aspp_rates((6, 12, 18), output_stride) == rates  # v3, section 3.3


@pytest.mark.parametrize(('base', 'output_stride'), [((5, 12), 32), ((1,), 32), ((0,), 16)])
def test_a_rate_that_is_no_whole_number_of_cells_is_refused(base, output_stride):
    with pytest.raises(ValueError, match='whole number of cells'):
        aspp_rates(base, output_stride)
