"""tools/crf_search.py and tools/crf_visualize.py from the command line to their files, on the demo pictures."""

import importlib
import json
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from mmseg_deeplab.apis import init_model, segment
from mmseg_deeplab.crf import DenseCRF
from mmseg_deeplab.crf.presets import load_preset
from mmseg_deeplab.datasets.demo import make_demo_dataset
from mmseg_deeplab.inference.crf_pictures import draw_crf


@pytest.fixture(scope='module')
def demo(repo, tmp_path_factory):
    """(config file, checkpoint with random weights, folder of 12 validation pictures)."""
    root = tmp_path_factory.mktemp('demo')
    make_demo_dataset(str(root / 'data'), 1, 12, 0)
    config = repo / 'configs' / 'deeplabv3plus_mobilenetv2_demo.py'
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(Config.fromfile(config).model))
    torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
    torch.save(dict(state_dict=model.state_dict()), root / 'random.pth')
    return str(config), str(root / 'random.pth'), root / 'data'


@pytest.fixture(scope='module')
def tool():
    """tool(name): the module of the command that tools/NAME.py runs."""
    return lambda name: importlib.import_module(f'mmseg_deeplab.cli.{name}')


GRID = ['--bi-w', '3', '5', '--bi-xy-std', '20', '40', '--bi-rgb-std', '5', '--pos-w', '1']
QUICK = ['--iterations', '1', '--workers', '1', '--device', 'cpu']


def test_search_writes_a_preset_and_goes_on_where_it_stopped(demo, tool, tmp_path, capsys, monkeypatch):
    config, checkpoint, data = demo
    folders = ['--data-root', str(data), '--work-dir', str(tmp_path)]
    arguments = [config, checkpoint, *folders, '--images', '3', '--held-out', '2', *GRID, *QUICK]
    main = tool('crf_search').main
    main(arguments)
    out = capsys.readouterr().out
    assert 'without CRF' in out and 'not searched on' in out and '4 candidates' in out
    assert Image.open(tmp_path / 'surface.png').width > 300
    preset = load_preset(str(tmp_path / 'preset.py'))
    assert preset['bi_rgb_std'] == 5 and preset['pos_w'] == 1 and preset['iterations'] == 1
    assert f'{preset["bi_w"]:>12g}{preset["bi_xy_std"]:>12g}' in out.splitlines()[1]
    DenseCRF(**preset)
    assert 'deeplabv3plus_mobilenetv2_demo with random.pth' in (tmp_path / 'preset.py').read_text()
    monkeypatch.setattr(torch.nn.Conv2d, 'forward', lambda *_: pytest.fail('the network ran again'))
    main(arguments)
    assert capsys.readouterr().out == out


def test_search_refuses_what_makes_no_sense(demo, tool, tmp_path):
    config, checkpoint, data = demo
    arguments = [config, checkpoint, '--data-root', str(data), '--work-dir', str(tmp_path), *GRID, *QUICK]
    main = tool('crf_search').main
    with pytest.raises(ValueError, match='the dataset has 12 images'):
        main([*arguments, '--images', '10', '--held-out', '3'])
    with pytest.raises(ValueError, match="classes \\['unicorn'\\]"):
        main([*arguments, '--images', '1', '--held-out', '0', '--classes', 'unicorn'])
    (tmp_path / 'cases').mkdir()
    (tmp_path / 'cases' / 'origin.txt').write_text('weights that sum up to 1')
    with pytest.raises(ValueError, match='another network, dataset or of other settings'):
        main([*arguments, '--images', '1', '--held-out', '0'])


def test_search_takes_images_and_void_from_the_validation(demo, tool, tmp_path):
    """Truth whose void is 254, as the evaluator and the images' loading have it."""
    config, checkpoint, data = demo
    other = tmp_path / 'data'
    shutil.copytree(data, other)
    for path in (other / 'SegmentationClass').iterdir():
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.where(mask == 255, 254, mask).astype(np.uint8)).save(path)
    arguments = [config, checkpoint, '--data-root', str(other), *GRID, *QUICK, '--images', '1', '--held-out', '0']
    options = ['val_dataloader.dataset.pipeline.1.ignore_index=254', 'val_evaluator.ignore_index=254']
    main = tool('crf_search').main
    main([*arguments, '--work-dir', str(tmp_path), '--cfg-options', *options])
    assert json.loads((tmp_path / 'state.jsonl').read_text().splitlines()[0])['ignore_index'] == 254
    with pytest.raises(ValueError, match='val_dataloader is None'):
        main([*arguments, '--work-dir', str(tmp_path), '--cfg-options', 'val_dataloader=None'])


def test_search_tells_settings_of_the_network_apart(demo, tool, tmp_path):
    config, checkpoint, data = demo
    arguments = [config, checkpoint, '--data-root', str(data), '--work-dir', str(tmp_path), *GRID, *QUICK]
    main = tool('crf_search').main
    main([*arguments, '--images', '1', '--held-out', '0'])
    with pytest.raises(ValueError, match='of other settings'):
        main([*arguments, '--images', '1', '--held-out', '0', '--cfg-options', 'model.output_stride=8'])


def test_visualize_draws_two_pictures(demo, tool, tmp_path, capsys):
    config, checkpoint, data = demo
    image = sorted((data / 'JPEGImages').iterdir())[-1]
    mask = data / 'SegmentationClass' / f'{image.stem}.png'
    arguments = [config, checkpoint, str(image), '--out-dir', str(tmp_path), '--device', 'cpu']
    main = tool('crf_visualize').main
    main([*arguments, '--truth', str(mask), '--iterations', '0', '2'])
    files = capsys.readouterr().out.split()
    assert files == [str(tmp_path / f'{image.stem}_{kind}.png') for kind in ('maps', 'labels')]
    assert all(np.asarray(Image.open(file)).std() > 10 for file in files)
    with pytest.raises(ValueError, match="class 'unicorn': the model knows"):
        main([*arguments, '--classes', 'unicorn'])
    Image.new('L', (7, 5)).save(tmp_path / 'small.png')
    with pytest.raises(ValueError, match=r'small.png is \(5, 7\), the image'):
        main([*arguments, '--truth', str(tmp_path / 'small.png')])
    with pytest.raises(FileNotFoundError, match='truth nope.png does not exist'):
        main([*arguments, '--truth', 'nope.png'])
    with pytest.raises(FileNotFoundError, match='picture nope.jpg does not exist'):
        main([config, checkpoint, 'nope.jpg', *arguments[3:]])


def test_pictures_show_the_network_at_the_size_of_the_test(demo, tmp_path):
    """The loader's pipeline, not the config's variable of that name, says how images come."""
    config, checkpoint, data = demo
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type='Resize', scale=(65, 65)))
    model = init_model(cfg, checkpoint, 'cpu')
    sizes = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
    image = str(sorted((data / 'JPEGImages').iterdir())[-1])
    segment(model, image)
    draw_crf(model, image, dict(iterations=1), tmp_path, iterations=(0,))
    assert len(sizes) == 2 and sizes[0] == sizes[1]
