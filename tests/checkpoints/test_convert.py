"""Converted weights give the output of their source, computed here with plain functions from the published layout."""

import caffe_networks as caffe
import mobilenet_networks as mobilenets
import paddle_networks as paddles
import pytest
import source_networks as nets
import torch
import torch.nn.functional as F
from mmseg.datasets import COCOStuffDataset
from mmseg.registry import MODELS
from plain_network import OS8_OLD, Net, assert_same, torchvision_resnet
from source_networks import IMAGE

from mmseg_deeplab.checkpoints.conversion import build, fit_to_model
from mmseg_deeplab.checkpoints.convert import FORMATS, convert_state, detect_format
from mmseg_deeplab.errors import UserError

# format, network, whether its resizes align corners
WHOLE = [
    ('torchvision', nets.torchvision_v3, False),
    ('mmseg', nets.mmseg_v3, False),
    ('mmseg', nets.mmseg_v3plus, False),
    ('kazuto', nets.kazuto_v2, False),
    ('kazuto', nets.kazuto_old, False),
    ('vgg', nets.caffe_vgg, True),
    ('vgg', caffe.caffe_v2_vgg, True),
    ('caffe', caffe.caffe_v2, True),
    ('vainf', nets.vainf_v3, False),
    ('vainf', nets.vainf_v3plus, False),
    ('vainf', nets.vainf_v3plus_separable, False),
    ('vainf', mobilenets.vainf_mobilenet, False),
    ('jfzhang95', nets.jfzhang95_v3plus, True),
    ('jfzhang95', nets.jfzhang95_xception, True),
    ('detectron2', nets.detectron2_v3, False),
    ('detectron2', nets.detectron2_v3plus, False),
    ('detectron2', nets.detectron2_v3plus_separable, False),
    ('smp', nets.smp_v3, True),
    ('smp', nets.smp_v3plus, True),
    ('smp', mobilenets.smp_mobilenet_v3, True),
    ('smp', mobilenets.smp_mobilenet_v3plus, True),
    ('jfzhang95', mobilenets.jfzhang95_mobilenet, True),
    ('mmseg', mobilenets.mmseg_mobilenet_v3plus, False),
    ('huggingface', mobilenets.huggingface_v3, False),
    ('paddleseg', paddles.v3plus, False),
    ('paddleseg', paddles.v3, False),
]
IDS = [f'{name}-{network.__name__}' for name, network, _ in WHOLE]


@pytest.mark.parametrize('name, network, align_corners', WHOLE, ids=IDS)
@torch.no_grad()
def test_whole_models(name, network, align_corners):
    net = (caffe.CaffeNet if name == 'caffe' else Net)()
    expected = network(net, IMAGE)
    assert detect_format(net.state) == name
    conversion = convert_state(net.state)
    assert conversion.holds == ('',)
    unused = ('aux', 'classification_head', 'mobilenet_v2.conv_1x1', 'backbone.low_level_f', 'backbone.high_level_f')
    assert len(conversion.dropped) == (0 if name == 'vainf' else sum(key.startswith(unused) for key in net.state))
    model = build(conversion.model).eval()
    fit_to_model(conversion, model, 'test', [])
    got = model.decode_head(model.backbone(IMAGE))
    assert_same(got, expected)
    assert model.align_corners == align_corners


def backbone_of(conversion):
    """The converted backbone, loaded strictly; its file must hold all of it and nothing else."""
    assert all(key.startswith('backbone.') for key in conversion.state_dict)
    assert 'decode_head' not in conversion.model
    model = build(conversion.model).eval()
    fit_to_model(conversion, model, 'test', [])
    return model['backbone']


@pytest.mark.parametrize('name', ['torchvision', 'mmseg', 'kazuto'])
@torch.no_grad()
def test_resnet_backbones(name):
    """Backbones alone, at output stride 8, with the classifier of their pretraining beside them."""
    net = Net()
    if name == 'torchvision':
        expected = torchvision_resnet(net, IMAGE, '', OS8_OLD)
    elif name == 'mmseg':
        expected = nets.mmseg_backbone(net, IMAGE)
        net.state = {key.removeprefix('backbone.'): value for key, value in net.state.items()}
    else:
        expected = [nets.kazuto_v2(net, IMAGE, begin='')]
        net.state = {key: value for key, value in net.state.items() if 'aspp' not in key}
    net.make('fc.weight', (10, 4))
    net.make('fc.bias', (10,))
    assert detect_format(net.state) == name
    conversion = convert_state(net.state)
    assert set(conversion.dropped) == {'fc.weight', 'fc.bias'}
    conversion.model['backbone']['output_stride'] = 8
    features = backbone_of(conversion)(IMAGE)
    if name != 'kazuto':  # there the whole model is compared above
        for got, wanted in zip(features, expected, strict=True):
            assert_same(got, wanted)


@pytest.mark.parametrize('batch_norm', [False, True])
@torch.no_grad()
def test_torchvision_vgg16(batch_norm):
    """The trunk as it is; fc6 and fc7 decimated to LargeFOV's 3x3 positions and 1024 filters."""
    net = Net()
    x, place = IMAGE, 0
    for stage, (count, out) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1):
        for _ in range(count):
            x = net.conv(x, f'features.{place}', out, 3, rate=2 if stage == 5 else 1, bias=True)
            if batch_norm:
                place += 1
                x = net.bn(x, f'features.{place}')
            x = F.relu(x)
            place += 2
        place += 1
        x = F.max_pool2d(x, 3, 2 if stage < 4 else 1, 1, ceil_mode=True)
    assert place == (44 if batch_norm else 31)  # torchvision's vgg16_bn and vgg16
    fc6 = torch.randint(-9, 9, (4096, 512, 7, 7), dtype=torch.int8)  # as float32 it takes 400 MB
    net.state['classifier.0.weight'] = fc6.flatten(1)
    for name, shape in (('0.bias', (4096,)), ('3.weight', (4096, 4096)), ('3.bias', (4096,)), ('6.weight', (5, 4096))):
        net.make(f'classifier.{name}', shape, 0.01)
    conversion = convert_state(net.state)
    assert set(conversion.dropped) == {'classifier.6.weight'}
    assert conversion.holds == ('backbone.', 'decode_head.fc6.', 'decode_head.fc7.')
    model = build(conversion.model).eval()
    fit_to_model(conversion, model, 'test', [])
    assert_same(model.backbone(IMAGE)[-1], x)
    assert torch.equal(model.decode_head.fc6.weight[3, :, 2, 1], fc6[12, :, 6, 3].float())
    assert torch.equal(model.decode_head.fc7.weight[5, 7], net.state['classifier.3.weight'][20, 28, None, None])


def vgg_without_trunk(names, rows):
    """fc6 and fc7 of VGG-16 for 2 channels instead of 512, and what a converter knows it by; `rows` is 2-D or 4-D."""
    state = {'conv1_1.weight': torch.zeros(64, 3, 3, 3)} if names == ('fc6', 'fc7') else {}
    if not state:
        state = {'features.0.weight': torch.zeros(64, 3, 3, 3), 'features.28.weight': torch.zeros(512, 512, 3, 3)}
    fc6 = torch.arange(4096 * 2 * 7 * 7, dtype=torch.int32)
    fc7 = torch.arange(4096 * 4096, dtype=torch.int32)
    state[f'{names[0]}.weight'] = fc6.view(4096, 98) if rows == 2 else fc6.view(4096, 2, 7, 7)
    state[f'{names[1]}.weight'] = fc7.view(4096, 4096) if rows == 2 else fc7.view(4096, 4096, 1, 1)
    for name in names:
        state[f'{name}.bias'] = torch.arange(4096)
    state['fc8.weight' if 'fc6' in names else 'classifier.6.weight'] = torch.zeros(1000, 4096)
    return state


@pytest.mark.parametrize('names', [('classifier.0', 'classifier.3'), ('fc6', 'fc7')])
@pytest.mark.parametrize('rows', [2, 4])
@pytest.mark.parametrize(
    ('variant', 'places', 'filters'),
    [
        ('7x7', range(7), range(4096)),  # as they are
        ('4x4', (0, 2, 4, 6), range(4096)),  # v1, section 4.1: decimated
        ('LargeFOV', (0, 3, 6), range(0, 4096, 4)),
    ],
)
def test_fc6_and_fc7_of_vgg16_for_the_heads_of_v1(names, rows, variant, places, filters):
    got = convert_state(vgg_without_trunk(names, rows), 'vgg', variant)
    head = MODELS.build(dict(got.model['decode_head'], in_channels=2)) if variant != '7x7' else None
    fc6, fc7 = (got.state_dict[f'decode_head.{name}.weight'] for name in ('fc6', 'fc7'))
    assert fc6.shape == (len(filters), 2, len(places), len(places)) and fc7.shape == (*[len(filters)] * 2, 1, 1)
    if head is not None:
        assert (head.fc6.weight.shape, head.fc7.weight.shape) == (fc6.shape, fc7.shape)
    for i, c, y, x in ((0, 0, 0, 0), (5, 1, 2, 1), (len(filters) - 1, 1, len(places) - 1, 0)):
        # The value of a weight is its place in rows of 2 x 7 x 7.
        assert fc6[i, c, y, x] == filters[i] * 98 + c * 49 + places[y] * 7 + places[x]
    assert fc7[7, 9] == filters[7] * 4096 + filters[9]
    for name in ('fc6', 'fc7'):
        assert got.state_dict[f'decode_head.{name}.bias'].tolist() == list(filters)
    assert got.holds == ('backbone.', 'decode_head.fc6.', 'decode_head.fc7.') and got.notes
    assert list(got.dropped.values()) == ['ImageNet classifier']


def test_a_variant_needs_vggs_own_fc6():
    reduced = {'conv1_1.weight': torch.zeros(64, 3, 3, 3), 'fc6.weight': torch.zeros(1024, 512, 3, 3)}
    with pytest.raises(
        UserError, match='--variant 4x4 takes fc6 and fc7 of 4096 filters.*1024, decimated for LargeFOV'
    ):
        convert_state(reduced, 'vgg', '4x4')
    del reduced['fc6.weight']
    with pytest.raises(UserError, match='this file has none'):
        convert_state(reduced, 'vgg', '7x7')
    assert convert_state(reduced, 'vgg', 'LargeFOV').holds == ('backbone.',)
    with pytest.raises(UserError, match="--variant is for fc6 and fc7 of VGG-16, and this source's layout is timm"):
        convert_state({}, 'timm', '4x4')


@torch.no_grad()
def test_timm_xception():
    net = Net(eps=1e-3)
    expected = nets.timm_xception41(net, IMAGE)
    assert detect_format(net.state) == 'timm'
    conversion = convert_state(net.state)
    assert set(conversion.dropped) == {'head.fc.weight'}
    conversion.model['backbone']['output_stride'] = 32
    assert_same(backbone_of(conversion)(IMAGE)[-1], expected)


@torch.no_grad()
def test_kazuto_coco_stuff_keeps_the_classes_of_the_dataset(monkeypatch):
    """182 outputs become the 171 that MMSegmentation's dataset maps the ids to."""
    monkeypatch.setattr(nets, 'CLASSES', 182)
    net = Net()
    expected = nets.kazuto_v2(net, IMAGE)
    conversion = convert_state(net.state)
    classes = COCOStuffDataset.METAINFO['classes']
    assert conversion.model['decode_head']['num_classes'] == len(classes) == 171
    assert any('171' in note for note in conversion.notes)
    model = build(conversion.model).eval()
    fit_to_model(conversion, model, 'test', [])
    got = model.decode_head(model.backbone(IMAGE))
    # Some classes by their published id, counted from 1 (labels.txt of COCO-Stuff).
    for name, number in {'person': 1, 'stop sign': 13, 'cat': 17, 'toothbrush': 90, 'banner': 92, 'wood': 182}.items():
        assert_same(got[:, classes.index(name)], expected[:, number - 1])


def test_every_format_is_tested():
    assert {name for name, _, _ in WHOLE} | {'timm', 'tensorflow', 'kerashub', 'hed'} == set(FORMATS)


def test_coco_stuff_is_converted_to_the_classes_of_its_dataset():
    """The ids that no image shows, by the preparation of the data set and by the converter."""
    from mmseg_deeplab.checkpoints.convert.kazuto import COCO_STUFF_IDS, NEVER_ANNOTATED
    from mmseg_deeplab.datasets.prepare.coco_stuff import IDS

    assert sorted([*IDS, *NEVER_ANNOTATED]) == list(range(1, COCO_STUFF_IDS + 1))
