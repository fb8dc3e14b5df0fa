"""Converted checkpoints say what their classes are, if that is known."""

import numpy as np
import pytest
import torch
from mmseg.apis import MMSegInferencer
from mmseg.datasets import ADE20KDataset, BaseSegDataset, CityscapesDataset, COCOStuffDataset, PascalVOCDataset
from plain_network import Net
from source_networks import IMAGE, torchvision_v3

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.checkpoints.class_names import DATASETS_OF, names_in, names_of
from mmseg_deeplab.checkpoints.conversion import convert_file
from mmseg_deeplab.checkpoints.convert import FORMATS


@pytest.mark.parametrize(
    'source, count, dataset',
    [
        ('torchvision', 21, PascalVOCDataset),
        ('tensorflow', 21, PascalVOCDataset),
        ('tensorflow', 19, CityscapesDataset),
        ('kazuto', 21, PascalVOCDataset),
        ('kazuto', 171, COCOStuffDataset),
        ('vgg', 21, PascalVOCDataset),
        ('vainf', 19, CityscapesDataset),
        ('jfzhang95', 21, PascalVOCDataset),
        ('detectron2', 19, CityscapesDataset),
        ('mmseg', 150, ADE20KDataset),
        ('paddleseg', 21, PascalVOCDataset),
        ('paddleseg', 19, CityscapesDataset),
        ('torchvision', 5, None),
        ('tensorflow', 151, None),
        ('smp', 21, None),  # a library: what its users train is not known
        ('timm', 1000, None),
    ],
)
def test_names_by_layout_and_number(source, count, dataset):
    found = names_of(source, count)
    if dataset is None:
        assert found is None
        return
    assert found[0] == dataset.__name__
    assert found[1]['classes'] == list(dataset.METAINFO['classes']) and len(found[1]['palette']) == count
    assert set(DATASETS_OF) < set(FORMATS)


@pytest.mark.parametrize(
    'meta',
    [
        dict(CLASSES=('sky', 'cow'), PALETTE=[[1, 2, 3], [4, 5, 6]]),
        dict(dataset_meta=dict(classes=['sky', 'cow'], palette=[(1, 2, 3), (4, 5, 6)])),
    ],
)
def test_a_source_names_its_own(meta):
    assert names_in(dict(meta=meta), 2) == dict(classes=['sky', 'cow'], palette=[[1, 2, 3], [4, 5, 6]])
    assert names_in(dict(meta=meta), 3) is None
    assert names_in(dict(meta=7), 2) is names_in({}, 2) is names_in(dict(meta=dict(CLASSES=5)), 2) is None


def convert(tmp_path, classes, **content):
    """Convert torchvision's DeepLab v3, small, with another number of classes."""
    net = Net()
    torchvision_v3(net, IMAGE)
    state = dict(net.state)
    for name in ('classifier.4.weight', 'classifier.4.bias'):
        state[name] = state[name][:1].repeat_interleave(classes, 0).contiguous()
    torch.save(dict(state_dict=state, **content), tmp_path / 'source.pth')
    return convert_file(tmp_path / 'source.pth', tmp_path / 'out.pth')


def test_what_is_written_and_said(tmp_path):
    said = convert(tmp_path, 21)
    assert 'Class names are those of PascalVOCDataset' in said
    assert load_file(tmp_path / 'out.pth')['meta']['dataset_meta']['classes'][10] == 'cow'
    said = convert(tmp_path, 2, meta=dict(CLASSES=('sky', 'cow'), PALETTE=[[1, 2, 3], [4, 5, 6]]))
    assert 'Class names are those of the source: sky, cow' in said
    assert load_file(tmp_path / 'out.pth')['meta']['dataset_meta']['classes'] == ['sky', 'cow']
    said = convert(tmp_path, 4)
    assert 'The names of its 4 classes are not known' in said
    assert 'dataset_meta' not in load_file(tmp_path / 'out.pth')['meta']


@pytest.mark.parametrize('content', [{}, dict(meta=dict(CLASSES=tuple(f'class {i}' for i in range(21))))])
def test_the_stacks_inferencer_draws_them(tmp_path, repo, content, monkeypatch):
    """The data set's by the layout, or the source's own, which has no colours here."""
    convert(tmp_path, 21, **content)
    meta = load_file(tmp_path / 'out.pth')['meta']
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = '{repo / 'configs/deeplabv3_r101_voc_torchvision.py'}'\n"
        + meta['model'].replace('model = dict(', 'model = dict(_delete_=True, ', 1)
    )
    inferencer = MMSegInferencer(str(config), str(tmp_path / 'out.pth'), device='cpu')
    kind, drawn = type(inferencer.visualizer), []
    draw = kind._draw_sem_seg
    monkeypatch.setattr(kind, '_draw_sem_seg', lambda *given: drawn.append(given[3:5]) or draw(*given))
    inferencer(np.zeros((33, 33, 3), np.uint8), return_vis=True)
    ((classes, palette),) = drawn
    voc = PascalVOCDataset.METAINFO
    if content:
        named = dict(classes=content['meta']['CLASSES'])
        voc = {**named, 'palette': BaseSegDataset(metainfo=named, lazy_init=True).metainfo['palette']}
    assert list(classes) == list(voc['classes'])
    assert [list(colour) for colour in palette] == [list(colour) for colour in voc['palette']]
