"""From another codebase's file to predictions at full size, by the command line alone, equal to the peer's own."""

import pickle

import mobilenet_networks as mobilenets
import numpy as np
import paddle_networks as paddles
import pytest
import source_networks as nets
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmseg.structures import SegDataSample
from PIL import Image
from plain_network import Net, assert_same
from test_convert_tensorflow import TensorFlow, half_mobilenet_v3, resnet50_v3plus

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.checkpoints.conversion import convert_file
from mmseg_deeplab.checkpoints.publish import plain_config
from mmseg_deeplab.cli import convert, main
from mmseg_deeplab.inference import init_model, predict

IMAGENET = [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]]
TF = [[127.5] * 3, [127.5] * 3]
CAFFE = [[122.675, 116.669, 104.008], [1.0] * 3]  # RGB here, turned below


def resized(logits, size, align_corners=False):
    return F.interpolate(logits, tuple(size), mode='bilinear', align_corners=align_corners)


def to_image(network):
    """torchvision, VainF, MMSegmentation, transformers, PaddleSeg: logits are resized to the image."""
    return lambda net, x: resized(network(net, x), x.shape[2:])


def to_image_by_corners(network):
    """jfzhang95 and segmentation_models.pytorch."""
    return lambda net, x: resized(network(net, x), x.shape[2:], True)


def by_factor(network, factor):
    """detectron2: four times as large, without decoder sixteen times, then cut."""

    def forward(net, x):
        full = F.interpolate(network(net, x), scale_factor=factor, mode='bilinear', align_corners=False)
        return full[:, :, : x.shape[2], : x.shape[3]]

    return forward


def padded(network, step, least=0):
    """Caffe and the TensorFlow release: the mean is added right and below up to k * step + 1 pixels, or to the crop."""

    def forward(net, x):
        height, width = x.shape[2:]
        right, below = (max(-(side - 1) % step, least - side) for side in (width, height))
        x = F.pad(x, (0, right, 0, below))
        return resized(network(net, x), x.shape[2:], True)[:, :, :height, :width]

    return forward


def kazuto_msc(net, x):
    """The maximum over the scales 1, 0.75 and 0.5."""
    logits = nets.kazuto_v2(net, x)
    for scale in (0.5, 0.75):
        smaller = F.interpolate(x, scale_factor=scale, mode='bilinear', align_corners=False)
        logits = torch.maximum(logits, resized(nets.kazuto_v2(net, smaller), logits.shape[2:]))
    return resized(logits, x.shape[2:])


ANY = ((64, 96), (65, 81), (70, 93))
BY_16 = ((64, 96), (80, 48), (112, 64))
PEERS = {
    'torchvision': (to_image(nets.torchvision_v3), IMAGENET, ANY),
    'mmseg v3': (to_image(nets.mmseg_v3), IMAGENET, ANY),
    'mmseg v3+': (to_image(nets.mmseg_v3plus), IMAGENET, ANY),
    'mmseg mobilenet': (to_image(mobilenets.mmseg_mobilenet_v3plus), IMAGENET, ANY),
    'kazuto': (kazuto_msc, CAFFE, ANY),
    'vgg': (padded(nets.caffe_vgg, 8), CAFFE, ANY),
    'vainf v3': (to_image(nets.vainf_v3), IMAGENET, ANY),
    'vainf v3+': (to_image(nets.vainf_v3plus_separable), IMAGENET, ANY),
    'vainf mobilenet': (to_image(mobilenets.vainf_mobilenet), IMAGENET, ANY),
    'jfzhang95': (to_image_by_corners(nets.jfzhang95_v3plus), IMAGENET, ANY),
    'jfzhang95 xception': (to_image_by_corners(nets.jfzhang95_xception), IMAGENET, ANY),
    'jfzhang95 mobilenet': (to_image_by_corners(mobilenets.jfzhang95_mobilenet), IMAGENET, ANY),
    'detectron2 v3': (by_factor(nets.detectron2_v3, 16), IMAGENET, ANY),
    'detectron2 v3+': (by_factor(nets.detectron2_v3plus, 4), IMAGENET, ANY),
    'smp v3': (to_image_by_corners(nets.smp_v3), IMAGENET, BY_16),
    'smp v3+': (to_image_by_corners(nets.smp_v3plus), IMAGENET, BY_16),
    'smp mobilenet': (to_image_by_corners(mobilenets.smp_mobilenet_v3), IMAGENET, BY_16),
    'tensorflow': (padded(resnet50_v3plus, 16, 513), TF, ANY),
    'tensorflow mobilenet': (padded(half_mobilenet_v3, 16, 513), TF, ANY),
    'huggingface': (to_image(mobilenets.huggingface_v3), TF, ANY),
    'paddleseg': (to_image(paddles.v3plus), TF, ANY),
}


@pytest.mark.parametrize('name', PEERS)
@torch.no_grad()
def test_from_the_file_to_predictions(name, tmp_path, monkeypatch, capsys):
    """convert SRC DST, then the written config: labels and logits of pictures as the source's code gives them."""
    forward, normalisation, sizes = PEERS[name]
    net = (TensorFlow if name.startswith('tensorflow') else Net)()
    mean, std = (torch.tensor(values)[:, None, None] for values in normalisation)
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    expected = []
    for picture in pictures:
        x = (torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32)) - mean) / std
        expected.append(forward(net, x.flip(0)[None] if normalisation is CAFFE else x[None]))
    if name.startswith('tensorflow'):
        np.savez(tmp_path / 'source.npz', **{key: value.numpy() for key, value in net.state.items()})
        source = tmp_path / 'source.npz'
    elif name == 'paddleseg':
        source = tmp_path / 'source.pdparams'
        source.write_bytes(pickle.dumps({key: value.numpy() for key, value in net.state.items()}, 4))
    else:
        source = tmp_path / 'source.pth'
        torch.save(net.state, source)

    monkeypatch.setattr('sys.argv', ['convert', str(source), str(tmp_path / 'new.pth')])
    convert.main()
    assert f'Its config is {tmp_path / "new.py"}' in capsys.readouterr().out
    config = Config.fromfile(tmp_path / 'new.py')
    if name == 'vgg':  # its crop of 513 would take a minute
        config.model.data_preprocessor.test_cfg = None
    model = init_model(config, str(tmp_path / 'new.pth'), device='cpu')
    for picture, wanted in zip(pictures, expected, strict=True):
        inputs = [torch.from_numpy(picture[..., ::-1].transpose(2, 0, 1).copy())]
        data = model.data_preprocessor(dict(inputs=inputs, data_samples=[SegDataSample(metainfo={})]))
        got = model.encode_decode(data['inputs'], [{}])
        assert_same(got[..., : picture.shape[0], : picture.shape[1]], wanted)
        prediction = predict(model, picture)
        top = wanted[0].topk(2, dim=0).values
        clear = (top[0] - top[1]) > 1e-3 * wanted.std()
        assert clear.float().mean() > 0.9
        labels = torch.from_numpy(prediction.labels.astype(np.int64))
        assert torch.equal(labels[clear], wanted[0].argmax(0)[clear])


def test_the_checkpoint_carries_model_classes_and_input(tmp_path, monkeypatch):
    monkeypatch.setattr(nets, 'CLASSES', 21)
    net = Net()
    with torch.no_grad():
        nets.torchvision_v3(net, nets.IMAGE)
    torch.save(net.state, tmp_path / 'source.pth')
    convert_file(tmp_path / 'source.pth', tmp_path / 'new.pth')
    checkpoint = load_file(tmp_path / 'new.pth')
    meta = checkpoint['meta']
    assert "type='DeepLabV3Head'" in meta['model'] and meta['data_preprocessor']['std'] == IMAGENET[1]
    assert meta['dataset_meta']['classes'][15] == 'person'
    cfg = Config.fromstring(plain_config(checkpoint, 'new.pth'), '.py')
    written = Config.fromfile(tmp_path / 'new.py')
    assert cfg.model == written.model and cfg.val_dataloader.dataset.type == 'PascalVOCDataset'
    assert written.load_from == str(tmp_path / 'new.pth')
    convert_file(tmp_path / 'source.pth', tmp_path / 'new.pth')  # may be written again
    (tmp_path / 'new.py').write_text('# mine')
    with pytest.raises(ValueError, match=r'new\.py exists and holds something else: remove it, or name one'):
        convert_file(tmp_path / 'source.pth', tmp_path / 'new.pth')
    convert_file(tmp_path / 'source.pth', tmp_path / 'new.pth', write_config=tmp_path / 'other.py')
    assert (tmp_path / 'new.py').read_text() == '# mine' and 'DeepLabV3Head' in (tmp_path / 'other.py').read_text()
    net.state = {k.removeprefix('backbone.'): v for k, v in net.state.items() if k.startswith('backbone.')}
    torch.save(net.state, tmp_path / 'backbone.pth')
    convert_file(tmp_path / 'backbone.pth', tmp_path / 'b.pth')
    assert not (tmp_path / 'b.py').exists()
    with pytest.raises(ValueError, match='--write-config is for whole models, but the source holds only its backbone'):
        convert_file(tmp_path / 'backbone.pth', tmp_path / 'b.pth', write_config=tmp_path / 'b.py')


@pytest.mark.parametrize(
    'network',
    [
        *(half_mobilenet_v3, nets.torchvision_v3, nets.mmseg_v3, nets.kazuto_v2, nets.caffe_vgg, nets.vainf_v3plus),
        *(nets.jfzhang95_v3plus, nets.detectron2_v3plus_separable, mobilenets.smp_mobilenet_v3plus),
        *(mobilenets.huggingface_v3, paddles.v3plus),
    ],
    ids=lambda network: network.__name__,
)
def test_the_written_config_is_tested_and_trained_as_it_is(network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    net = (TensorFlow if network is half_mobilenet_v3 else Net)()
    with torch.no_grad():
        network(net, torch.zeros(1, 3, 65, 65))
    torch.save(net.state, tmp_path / 'source.pth')
    convert_file(tmp_path / 'source.pth', tmp_path / 'new.pth')
    random = np.random.default_rng(0)
    for i in range(10):
        for folder, shape, top in (('images', (70, 93, 3), 256), ('masks', (70, 93), nets.CLASSES)):
            path = tmp_path / 'data' / folder / f'{i}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, top, shape, dtype=np.uint8)).save(path)
    assert (tmp_path / 'new.classes.txt').read_text().splitlines()[5] == 'class 4'
    main(['predict', 'new.py', 'new.pth', 'data/images/0.png', '--out', 'out', '--device', 'cpu'])
    assert len(list((tmp_path / 'out').rglob('0*.png'))) >= 1
    for name, weights in (('test', ['new.pth']), ('train', [])):
        options = ['--data-root', 'data', '--work-dir', name, '--cfg-options', *EXTRA[name]]
        main([name, 'new.py', *weights, *options])
        assert 'mIoU' in capsys.readouterr().out
    state = load_file(tmp_path / 'train/iter_1.pth')['state_dict']
    started = load_file(tmp_path / 'new.pth')['state_dict']
    assert state.keys() == started.keys()
    weight = max((name for name in state if state[name].ndim == 4), key=lambda name: state[name].numel())
    assert (state[weight] - started[weight]).norm() < 0.5 * started[weight].norm()  # it went on from those


EXTRA = dict(
    test=['test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False'],
    train=[
        'train_cfg.max_iters=1',
        'train_cfg.val_interval=1',
        'train_dataloader.batch_size=2',
        *(f'{split}_dataloader.num_workers=0' for split in ('train', 'val')),
        *(f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val')),
        'model.crop_size=(65,65)',
        'model.data_preprocessor.size=(65,65)',
        'train_dataloader.dataset.pipeline.3.crop_size=(65,65)',
    ],
)
