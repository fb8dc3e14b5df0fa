"""The libraries themselves, where they are installed; their names as they were recorded where they are not."""

import re
from pathlib import Path

import mmseg
import mobilenet_networks as mobilenets
import numpy as np
import paddle_networks as paddles
import pytest
import source_networks as nets
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from plain_network import Net, assert_same, plan, torchvision_stages

from mmseg_deeplab.checkpoints.conversion import convert_file, fit_to_model
from mmseg_deeplab.checkpoints.convert import convert_state, detect_format
from mmseg_deeplab.checkpoints.options import build
from mmseg_deeplab.inference import init_model, predict

SIZES = ((64, 96), (80, 48), (112, 64))


def converted(state):
    """The model that fits, with its weights; sizes of batch norm as they are."""
    conversion = convert_state(state)
    model = build(conversion.model).eval()
    fit_to_model(conversion, model, 'test', [])
    return model


def random_norms(model):
    """A peer's model in eval mode whose batch norms do something."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.7, 1.3)
    return model.eval()


class TestSegmentationModels:
    @pytest.mark.parametrize('encoder', ['resnet50', 'mobilenet_v2', 'tu-resnet50'])
    @pytest.mark.parametrize('name', ['DeepLabV3', 'DeepLabV3Plus'])
    @torch.no_grad()
    def test_it_computes_what_the_library_does(self, name, encoder):
        smp = pytest.importorskip('segmentation_models_pytorch')
        kind = getattr(smp, name)
        peer = random_norms(kind(encoder, encoder_weights=None, decoder_channels=16, classes=5))
        assert detect_format(peer.state_dict()) == 'smp'
        model = converted(peer.state_dict())
        for size in SIZES:
            x = torch.randn(1, 3, *size)
            assert_same(model.encode_decode(x, [{}]), peer(x))

    @torch.no_grad()
    def test_the_recorded_names(self):
        """Of the decoder of DeepLabV3 in 0.6.0; the plain functions run on them."""
        net = Net()
        mobilenets.smp_mobilenet_v3(net, nets.IMAGE)
        plain = {name for name in net.state if name.startswith('decoder.')}
        branches = [('0', 0, 1), *((str(i), 0, 1) for i in (1, 2, 3)), ('4', 1, 2)]
        norm = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
        recorded = {f'decoder.aspp.convs.{i}.{conv}.weight' for i, conv, _ in branches}
        recorded |= {f'decoder.aspp.convs.{i}.{bn}.{part}' for i, _, bn in branches for part in norm}
        recorded |= {'decoder.aspp.project.0.weight', 'decoder.conv.weight'}
        recorded |= {f'decoder.{bn}.{part}' for bn in ('aspp.project.1', 'bn') for part in norm}
        assert plain == recorded
        try:
            import segmentation_models_pytorch as smp
        except ImportError:
            return
        peer = smp.DeepLabV3('mobilenet_v2', encoder_weights=None)
        assert {name for name in peer.state_dict() if name.startswith('decoder.')} == recorded

    def test_other_encoders_are_named(self):
        state = {'segmentation_head.0.weight': torch.zeros(1), 'encoder._conv_stem.weight': torch.zeros(1)}
        with pytest.raises(ValueError, match=r'this encoder has no counterpart here: encoder\._conv_stem'):
            convert_state(state)


class TestTransformers:
    @torch.no_grad()
    def test_deeplab_on_mobilenet_v2(self):
        transformers = pytest.importorskip('transformers')
        config = transformers.MobileNetV2Config(num_labels=5, output_stride=8)
        peer = random_norms(transformers.MobileNetV2ForSemanticSegmentation(config))
        assert detect_format(peer.state_dict()) == 'huggingface'
        model = converted(peer.state_dict())
        for size in ((64, 96), (65, 81), (70, 93)):
            x = torch.randn(1, 3, *size)
            expected = F.interpolate(peer(x).logits, size, mode='bilinear', align_corners=False)
            assert_same(model.encode_decode(x, [{}]), expected)

    def test_mobilevit_is_refused(self):
        names = ('mobilevit.conv_stem.convolution.weight', 'segmentation_head.aspp.convs.0.convolution.weight')
        with pytest.raises(ValueError, match='has no counterpart here.*MobileViT'):
            convert_state({name: torch.zeros(1) for name in names})


METAFILES = Path(mmseg.__file__).parent / '.mim/configs'


@pytest.mark.skipif(not METAFILES.is_dir(), reason='MMSegmentation is installed without its configs')
class TestConfigsOfMMSegmentation:
    """Its own networks, from its own configs, which its files bring along."""

    @pytest.mark.parametrize(
        'name',
        [
            'deeplabv3/deeplabv3_r50-d8_4xb2-80k_cityscapes-769x769',  # windows, corners on corners
            'deeplabv3/deeplabv3_r101-d16-mg124_4xb2-80k_cityscapes-512x1024',
            'deeplabv3plus/deeplabv3plus_r50b-d8_4xb2-80k_cityscapes-512x1024',
            'deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512',
            'mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024',
        ],
    )
    @torch.no_grad()
    def test_full_size_predictions(self, name, tmp_path):
        cfg = Config.fromfile(METAFILES / f'{name}.py')
        head = dict(channels=8, norm_cfg=dict(type='BN'))
        changes = dict(pretrained=None, auxiliary_head=None, decode_head=head)
        if 'mobilenet' in name:
            changes['backbone'] = dict(norm_cfg=dict(type='BN'))
        else:
            changes['backbone'] = dict(base_channels=8, norm_cfg=dict(type='BN'))
            head |= dict(in_channels=256) | (dict(c1_in_channels=32) if 'plus' in name else {})
        if cfg.model.test_cfg.mode == 'slide':
            changes['test_cfg'] = dict(crop_size=(65, 65), stride=(43, 43))
        cfg.merge_from_dict(dict(model=changes))
        peer = random_norms(MODELS.build({**cfg.model, 'data_preprocessor': None})).double()
        torch.save(dict(state_dict=peer.state_dict(), meta=dict(cfg=cfg.pretty_text)), tmp_path / 'source.pth')
        convert_file(tmp_path / 'source.pth', tmp_path / 'new.pth')
        model = init_model(tmp_path / 'new.py', tmp_path / 'new.pth', device='cpu').double()
        for size in ((64, 96), (65, 81), (93, 70)):
            picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
            images = cfg.model.data_preprocessor
            x = (
                torch.tensor((picture - np.float32(images.mean)) / np.float32(images.std))
                .permute(2, 0, 1)[None]
                .double()
            )
            expected = peer.inference(x, [dict(ori_shape=size, img_shape=size)])
            data = dict(inputs=[torch.tensor(picture[..., ::-1].transpose(2, 0, 1).copy())])
            data = model.data_preprocessor({**data, 'data_samples': [SegDataSample(metainfo={})]})
            assert_same(model.inference(data['inputs'].double(), [dict(ori_shape=size, img_shape=size)]), expected)
            labels = predict(model, picture).labels
            assert (labels == expected[0].argmax(0).numpy()).mean() > 0.999


def deep_stem(net, x):
    """timm's resnet50c: three convolutions of 32, 32 and 64 channels, features at output stride 8."""
    for place, (out, stride) in zip((0, 3), ((32, 2), (32, 1)), strict=True):
        x = net.conv_bn_relu(x, f'conv1.{place}', f'conv1.{place + 1}', out, 3, stride=stride)
    x = F.max_pool2d(net.conv_bn_relu(x, 'conv1.6', 'bn1', 64, 3), 3, 2, 1)
    return torchvision_stages(net, x, '', plan(((1, 1), 1), ((2, 1), 1), ((2, 1), 1), ((2, 1), 1)))


def _resnet_d(name):
    """timm's name of a parameter of PaddleSeg's ResNet_vd."""
    name = name.replace('._mean', '.running_mean').replace('._variance', '.running_var')
    if stem := re.fullmatch(r'conv1_(\d)\._(conv|batch_norm)\.(\w+)', name):
        place = 3 * int(stem[1]) - 3
        norm = f'conv1.{place + 1}' if place < 6 else 'bn1'
        return f'{norm if stem[2] == "batch_norm" else f"conv1.{place}"}.{stem[3]}'
    stage, unit, part, kind, parameter = re.fullmatch(r'bb_(\d)_(\d)\.(\w+)\._(\w+)\.(\w+)', name).groups()
    if part == 'short':
        part = {'conv': 'downsample.1', 'batch_norm': 'downsample.2'}[kind]
    else:
        part = {'conv': 'conv', 'batch_norm': 'bn'}[kind] + str(int(part[-1]) + 1)
    return f'layer{int(stage) + 1}.{unit}.{part}.{parameter}'


class TestTimm:
    @torch.no_grad()
    def test_a_deep_stem(self):
        net = Net()
        expected = deep_stem(net, nets.IMAGE)
        net.make('fc.weight', (10, 4))
        assert detect_format(net.state) == 'timm'
        conversion = convert_state(net.state)
        conversion.model['backbone']['output_stride'] = 32
        model = build(conversion.model).eval()
        fit_to_model(conversion, model, 'test', [])
        for got, wanted in zip(model['backbone'](nets.IMAGE), expected, strict=True):
            assert_same(got, wanted)

    @torch.no_grad()
    def test_averaging_shortcuts(self):
        """ResNet-D, by PaddleSeg's plain functions under timm's names."""
        net = Net()
        expected = paddles.resnet_vd(net, nets.IMAGE)
        state = {_resnet_d(name): value for name, value in net.state.items()}
        assert detect_format(state) == 'timm'
        conversion = convert_state(state)
        assert conversion.model['backbone']['avg_down'] and 'that of timm averages' in conversion.notes[0]
        conversion.model['backbone']['output_stride'] = 32
        model = build(conversion.model).eval()
        fit_to_model(conversion, model, 'test', [])
        for got, wanted in zip(model['backbone'](nets.IMAGE), expected, strict=True):
            assert_same(got, wanted)

    @pytest.mark.parametrize(
        'name', ['resnet50', 'resnet50c', 'resnet50s', 'resnet50d', 'resnet101', 'resnet101d', 'resnet152']
    )
    @torch.no_grad()
    def test_by_name(self, name):
        timm = pytest.importorskip('timm')
        if name not in timm.list_models(name):
            pytest.skip(f'this timm has no {name}')
        peer = random_norms(timm.create_model(name))
        conversion = convert_state(peer.state_dict())
        conversion.model['backbone']['output_stride'] = 32
        model = build(conversion.model).eval()
        fit_to_model(conversion, model, 'test', [])
        for size in ((64, 96), (65, 81), (70, 93)):
            x = torch.randn(1, 3, *size)
            assert_same(model['backbone'](x)[-1], peer.forward_features(x))


class TestMMSegmentation:
    @pytest.mark.parametrize('head', ['ASPPHead', 'DepthwiseSeparableASPPHead'])
    @torch.no_grad()
    def test_resnet_v1d(self, head):
        """Its models named D8, on the backbone whose shortcuts average."""
        norm = dict(type='BN')
        decoder = dict(c1_in_channels=16, c1_channels=6) if head.startswith('Depthwise') else {}
        peer = MODELS.build(
            dict(
                type='EncoderDecoder',
                backbone=dict(
                    type='ResNetV1d', depth=50, base_channels=4, stem_channels=16, strides=(1, 2, 1, 1),
                    dilations=(1, 1, 2, 4), contract_dilation=True, norm_cfg=norm,
                ),
                decode_head=dict(
                    type=head, in_channels=128, in_index=3, channels=8, dilations=(1, 12, 24, 36), num_classes=5,
                    norm_cfg=norm, align_corners=False, **decoder,
                ),
            )
        )  # fmt: skip
        peer = random_norms(peer)
        conversion = convert_state(peer.state_dict())
        assert conversion.source == 'mmseg' and conversion.model['backbone']['avg_down']
        model = build(conversion.model).eval()
        fit_to_model(conversion, model, 'test', [])
        for size in ((64, 96), (65, 81), (70, 93)):
            x = torch.randn(1, 3, *size)
            meta = [dict(ori_shape=size, img_shape=size)]
            assert_same(model.encode_decode(x, meta), peer.encode_decode(x, meta))


class TestRatesThatNoFileTells:
    """What the notes say to set makes them fit exactly."""

    @torch.no_grad()
    def test_mmsegmentation_d16_mg124(self):
        """strides (1, 2, 2, 1), dilations (1, 1, 1, 2), multi_grid (1, 2, 4), ASPP (1, 6, 12, 18)."""
        os16 = [*plan(((1, 1), 1), ((2, 1), 1), ((2, 1), 1), ((1, 1), 1))[:3], [(1, 1), (1, 2), (1, 4)]]
        net = Net()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nets, 'OS8_OLD', os16)
            patch.setattr(nets, 'mmseg_conv', _with_rates_of_16(nets.mmseg_conv))
            expected = nets.mmseg_v3(net, nets.IMAGE)
        conversion = convert_state(net.state)
        note = next(note for note in conversion.notes if 'd16-mg124' in note)
        assert 'model.backbone.block4_rates=(1, 2, 4)' in note
        conversion.model['output_stride'] = 16
        del conversion.model['backbone']['multi_grid']
        conversion.model['backbone']['block4_rates'] = (1, 2, 4)
        conversion.model['decode_head']['dilations'] = (1, 6, 12, 18)
        model = build(conversion.model).eval()
        fit_to_model(conversion, model, 'test', [])
        assert_same(model.decode_head(model.backbone(nets.IMAGE)), expected)

    @pytest.mark.parametrize('key', ['cfg', 'config'])  # of MMSegmentation 1.x and 0.x
    def test_mmsegmentation_brings_its_config_along(self, key, tmp_path):
        """deeplabv3_r50-d16-mg124, as the file has it; a config that would do something is not looked at."""
        text = """norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='ResNetV1c', depth=50, num_stages=4, out_indices=(0, 1, 2, 3), dilations=(1, 1, 1, 2),
        strides=(1, 2, 2, 1), norm_cfg=dict(type='SyncBN', requires_grad=True), multi_grid=(1, 2, 4)),
    decode_head=dict(type='ASPPHead', dilations=(1, 6, 12, 18), align_corners=True))
"""
        net = Net()
        with torch.no_grad():
            nets.mmseg_v3(net, nets.IMAGE)
        torch.save(dict(state_dict=net.state, meta={key: text}), tmp_path / 'source.pth')
        said = convert_file(tmp_path / 'source.pth', tmp_path / 'new.pth')
        assert 'those of the config that the file brings along' in said and 'named D8' not in said
        model = Config.fromfile(tmp_path / 'new.py').model
        assert model.output_stride == 16 and model.backbone.block4_rates == (1, 2, 4)
        assert model.decode_head.dilations == (1, 6, 12, 18) and model.decode_head.align_corners
        (tmp_path / 'new.py').unlink()
        torch.save(dict(state_dict=net.state, meta={key: f'import os\n{text}'}), tmp_path / 'source.pth')
        assert 'named D8' in convert_file(tmp_path / 'source.pth', tmp_path / 'new.pth')

    @torch.no_grad()
    def test_jfzhang95_xception_at_8(self):
        """The last convolution of block20 stays at rate 1, those before it and the middle flow are at 2."""
        net = Net()
        expected = nets.jfzhang95_xception(net, nets.IMAGE, output_stride=8)
        conversion = convert_state(net.state)
        conversion.model['output_stride'] = 8
        conversion.model['decode_head']['rates'] = (3, 6, 9)  # 6, 12, 18 as the plain functions have them
        model = build(conversion.model).eval()
        fit_to_model(conversion, model, 'test', [])
        assert_same(model.decode_head(model.backbone(nets.IMAGE)), expected)

    @torch.no_grad()
    def test_jfzhang95_mobilenet_at_8(self):
        """Rows at rates 1, 1, 1, 1, 2, 2, 4: a row that lost its stride has the rate of the one before."""
        net = Net()
        rates = (1, 1, 1, 1, 2, 2, 4)
        real = mobilenets.residuals
        seen = []

        def residuals(net, x, names, _, strides, **kwargs):
            strides = (*strides[:3], 1, 1, 1, 1)
            rows = real(net, x, names, lambda row, unit: rates[row], strides, **kwargs)
            seen.append(rows[-1])
            return rows

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mobilenets, 'residuals', residuals)
            mobilenets.jfzhang95_mobilenet(net, nets.IMAGE)
        conversion = convert_state(net.state)
        assert any(f'model.backbone.row_rates={rates}' in note for note in conversion.notes)
        conversion.model['output_stride'] = 8
        conversion.model['backbone']['row_rates'] = rates
        model = build(conversion.model).eval()
        fit_to_model(conversion, model, 'test', [])
        assert_same(model.backbone(nets.IMAGE)[-1], seen[0])


def _with_rates_of_16(conv):
    return lambda net, x, name, out, k=1, rate=1, **kwargs: conv(
        net, x, name, out, k, rate=rate // 2 if 'aspp_modules' in name and rate > 1 else rate, **kwargs
    )
