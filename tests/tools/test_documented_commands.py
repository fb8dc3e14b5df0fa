"""The commands of docs/results.md and docs/dense_crf.md, as they stand there, on generated data of a few pictures."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from page_commands import commands
from PIL import Image

from mmseg_deeplab.crf import native, pydensecrf
from mmseg_deeplab.datasets.demo import make_demo_dataset
from mmseg_deeplab.datasets.masks import write_mask

ANIMALS = np.array([0, 8, 10, 12, 13, 15, 17], np.uint8)  # as results.md names them
LOADERS = [
    f'{split}_dataloader.{setting}'
    for split in ('train', 'val', 'test')
    for setting in ('num_workers=0', 'persistent_workers=False')
]
TRAINING = ['train_dataloader.batch_size=2', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2']
CROP = ['train_dataloader.dataset.pipeline.3.crop_size=(65,65)', 'model.crop_size=(65,65)']
SIZE = 'model.data_preprocessor.test_cfg.size=(129,129)'
GRID = ['--bi-w', '3', '--bi-xy-std', '20', '--bi-rgb-std', '5']
SEARCH = [*GRID, '--images', '1', '--held-out', '1', '--iterations', '1', '--workers', '1', '--device', 'cpu']


def small(words: list[str]) -> list[str]:
    """What is added to a command to have it done in seconds."""
    script, config = words[1], words[2]
    if script == 'tools/train.py':
        demo = 'demo' in config
        return ['--cfg-options', *LOADERS, *TRAINING, *([] if demo else CROP), *([SIZE] * ('voc' in config))]
    if script == 'tools/test.py':
        root = [] if '--data-root' in words else ['--data-root', 'VOC2012_ANIMALS']
        size = [] if any('test_cfg.size' in word for word in words) else [SIZE]
        return [*root, '--work-dir', 'work_dirs/test', '--cfg-options', *LOADERS, *size]
    if script == 'tools/crf_search.py':
        root = [] if '--data-root' in words else ['--data-root', 'VOC2012_ANIMALS']
        folder = f'measured/{Path(config).stem}' if '--data-root' in words else 'CONFIG'
        work_dir = [] if '--work-dir' in words else ['--work-dir', f'work_dirs/crf_search/{folder}']
        return [*root, *work_dir, *SEARCH, '--cfg-options', SIZE]
    return {
        'tools/make_demo_dataset.py': ['--train', '4', '--val', '2'],
        'benchmarks/joint_crf.py': ['--iterations', '1', '--crop', '33', '--crf-iterations', '1', '--seeds', '0'],
        'benchmarks/dense_crf.py': ['--images', '1', '--rounds', '1'],
        'benchmarks/refinement.py': ['--images', '1'],
    }.get(script, [])


def generated_data(here) -> None:
    """The demo's pictures, with the labels of VOC's animals and as CamVid lies."""
    voc, camvid = here / 'VOC2012_ANIMALS', here / 'CAMVID'
    make_demo_dataset(voc, 2, 2)
    for split in ('train', 'val'):
        for kind in ('img_dir', 'ann_dir'):
            (camvid / kind / split).mkdir(parents=True)
        for name in (voc / f'ImageSets/Segmentation/{split}.txt').read_text().split():
            image, mask = voc / f'JPEGImages/{name}.jpg', voc / f'SegmentationClass/{name}.png'
            Image.open(image).save(camvid / f'img_dir/{split}/{name}.png')
            labels = np.array(Image.open(mask))
            write_mask(camvid / f'ann_dir/{split}/{name}.png', labels)
            write_mask(mask, np.where(labels == 255, 255, ANIMALS[labels % len(ANIMALS)]).astype(np.uint8))
    first = (voc / 'ImageSets/Segmentation/val.txt').read_text().split()[0]
    shutil.copy(voc / f'JPEGImages/{first}.jpg', here / 'image.jpg')
    shutil.copy(voc / f'SegmentationClass/{first}.png', here / 'mask.png')


@torch.no_grad()
def released_weights(here, tests) -> None:
    """Random ones in the names and shapes of the TensorFlow release's files, batch norm folded as there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tests / 'checkpoints'))
        from test_convert_tensorflow import TensorFlow, mobilenet
    image = torch.randn(1, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    for name in ('mobilenet_v2_imagenet', 'deeplabv3_mnv2_voc'):
        net = TensorFlow()
        net.folded = True
        low, x = mobilenet(net, image)
        if name == 'deeplabv3_mnv2_voc':
            x = torch.cat([net.layer(x, part, 256) for part in ('image_pooling', 'aspp0')], 1)
            net.layer(x, 'concat_projection', 256)
            net.make('logits/semantic/weights', (1, 1, 256, 21), 0.3)
            net.make('logits/semantic/biases', (21,), 0.1)
        np.savez(here / f'{name}.npz', **{key: value.numpy() for key, value in net.state.items()})


def own_config(here, page: str) -> None:
    """voc_animals.py as results.md prints it."""
    code = next(block for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if '_tf_voc.py' in block)
    (here / 'voc_animals.py').write_text(code)


@pytest.fixture(scope='module')
def place(repo, tmp_path_factory):
    """A folder in which the pages' commands find what they name."""
    here = tmp_path_factory.mktemp('place')
    (here / 'configs').symlink_to(repo / 'configs')
    (here / 'docs').mkdir()
    (here / 'docs/images').symlink_to(repo / 'docs/images')
    generated_data(here)
    released_weights(here, repo / 'tests')
    own_config(here, (repo / 'docs/results.md').read_text(encoding='utf-8'))
    return here


@pytest.fixture
def run(repo, place, monkeypatch, capsys):
    """run(words): do one of the commands there, in this process; what it printed."""
    monkeypatch.chdir(place)

    def run(words: list[str]) -> str:
        print('$', *words)  # pytest shows it of the one that fails
        monkeypatch.setattr(sys, 'argv', [str(repo / words[1]), *words[2:], *small(words)])
        try:
            runpy.run_path(sys.argv[0], run_name='__main__')
        except SystemExit as end:
            assert not end.code, end.code
        return capsys.readouterr().out

    return run


def test_results(repo, place, run):
    """In the page's order: converted, tested in four ways, calibrated, trained."""
    for words in commands(repo / 'docs/results.md'):
        if 'CHECKPOINT' in words:  # the last one that the same config left
            trained = (place / 'work_dirs' / Path(words[2]).stem).glob('iter_*.pth')
            words[words.index('CHECKPOINT')] = str(max(trained))
        printed = run(words)
        if words[1] in ('tools/train.py', 'tools/test.py'):
            assert 'mIoU: ' in printed
        if words[1] == 'tools/convert_checkpoint.py':
            assert (place / words[3]).is_file()


def test_dense_crf(repo, place, run):
    """In an order in which one command finds what others have made."""
    standing = {'CONFIG': 'configs/deeplabv3_mobilenetv2_voc.py', 'CHECKPOINT': 'released.pth'}
    standing['DIR'] = 'work_dirs/crf_search/CONFIG/cases'
    order = ('tools/convert_checkpoint.py', 'tools/crf_search.py', 'tools/test.py', 'tools/crf_visualize.py')
    typed = [[standing.get(word, word) for word in words] for words in commands(repo / 'docs/dense_crf.md')]
    typed.sort(key=lambda words: order.index(words[1]) if words[1] in order else len(order))
    for words in typed:
        if words[1] == 'benchmarks/dense_crf.py' and not (native.is_available() and pydensecrf.is_installed()):
            continue  # compares these two
        printed = run(words)
        if words[1] == 'tools/test.py':
            assert 'before_crf' in printed
    assert (place / 'work_dirs/crf_search/measured/deeplabv3_mobilenetv2_voc/preset.py').is_file()
    assert len(list((place / 'crf_pictures').iterdir())) > 1
