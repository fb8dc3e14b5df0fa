"""Members of a ConcatDataset count alike; where they do not, both are named."""

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset as Stock
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_deeplab.datasets import ConcatDataset
from mmseg_deeplab.errors import UserError

VOC = ('background', 'aeroplane', 'bicycle')


@pytest.fixture
def member(tmp_path):
    for name in 'ab':
        Image.new('RGB', (3, 1)).save(tmp_path / f'{name}.jpg')
        Image.fromarray(np.array([[0, 2, 255]], np.uint8)).save(tmp_path / f'{name}.png')

    (tmp_path / 'names.txt').write_text('a\nb\n')

    def member(kind='BaseSegDataset', **options):
        prefix = dict(img_path='', seg_map_path='')
        options = dict(metainfo=dict(classes=VOC)) | options
        pipeline = [dict(type='LoadImage'), dict(type='LoadLabels')]
        return dict(type=kind, data_root=str(tmp_path), data_prefix=prefix, pipeline=pipeline, **options)

    return member


def build(*members, **options):
    return DATASETS.build(dict(type='ConcatDataset', datasets=list(members), **options))


def test_the_name_means_ours_and_samples_are_those_of_the_members(member):
    joined = build(member(), member(metainfo=dict(classes=list(VOC))))
    assert type(joined) is ConcatDataset and isinstance(joined, Stock)
    assert len(joined) == 4
    assert all(sample['gt_seg_map'].tolist() == [[0, 2, 255]] for sample in joined)


def test_wrapped_members(member):
    repeated = dict(type='RepeatDataset', times=3, dataset=member())
    assert len(build(repeated, member())) == 8


def test_members_may_come_to_the_same_classes_in_different_ways(member):
    """One chooses three of VOC's classes, the other has them, counted from 1."""
    chosen = member('PascalVOCDataset', metainfo=dict(classes=VOC, palette=[[0, 0, 0]] * 3), ann_file='names.txt')
    own = member(metainfo=dict(classes=VOC, palette=[[0, 0, 0]] * 3), reduce_zero_label=True)
    joined = build(chosen, own)
    assert joined[0]['gt_seg_map'].tolist() == [[0, 2, 255]]
    assert joined[2]['gt_seg_map'].tolist() == [[255, 1, 255]]


@pytest.mark.parametrize(
    ('other', 'shown'),
    [
        (dict(classes=VOC[:2]), "differ in classes: ('background', 'aeroplane', 'bicycle') and ('background'"),
        (dict(classes=VOC[::-1]), "and ('bicycle', 'aeroplane', 'background')"),
        (dict(classes=VOC, palette=[[1, 2, 3]] * 3), 'differ in palette'),
        (dict(), 'differ in classes'),
    ],
)
def test_what_differs_is_named(member, other, shown):
    with pytest.raises(UserError, match=r'datasets\.0 \(BaseSegDataset\) and datasets\.1') as caught:
        build(member(), member(metainfo=other))
    assert shown in str(caught.value)
    if 'palette' in shown:
        assert len(build(member(), member(metainfo=other), ignore_keys='palette')) == 4


def test_no_members():
    with pytest.raises(UserError, match='no datasets to join'):
        build()
