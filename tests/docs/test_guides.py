"""The guide and the recipes do what they say, at a tiny size, on stand-ins of the pictures they speak of."""

import csv
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from guide_pages import follow
from PIL import Image

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.evaluation.results import read_results

NETWORK = ['model.backbone.width=0.25', 'model.backbone.init_cfg=None', 'model.decode_head.channels=16']
LOADERS = [f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')]
SHORT = [
    'model.crop_size=(65,65)', 'train_dataloader.dataset.pipeline.3.crop_size=(65,65)', 'train_dataloader.batch_size=2',
    'train_cfg.max_iters=2', 'train_cfg.val_interval=2',
]  # fmt: skip
TINY = {
    'train': ['--cfg-options', *NETWORK, *LOADERS, *SHORT],
    'test': ['--cfg-options', *NETWORK, *LOADERS, SHORT[0]],
    'predict': ['--cfg-options', *NETWORK, SHORT[0]],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    return tmp_path


def save(path: str | Path, array: np.ndarray) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def picture(seed: int, side: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """An image of two boxes on grey, with noise, and its mask: 0, 1, 2."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.uint8)
    y, x = rng.integers(0, side // 2, 2)
    mask[y : y + side // 3, x : x + side // 3] = 1
    mask[-side // 4 :, side // 2 :] = 2
    image = np.array([[120, 120, 120], [200, 60, 60], [60, 60, 200]])[mask] + rng.normal(0, 15, (side, side, 3))
    return image.clip(0, 255).astype(np.uint8), mask


def test_your_own_pictures(repo, here, capsys):
    for number in range(8):
        image, mask = picture(number)
        save(f'photographs/images/{number}.jpg', image)
        save(f'photographs/masks/{number}.png', mask)
        save(f'new_photographs/new_{number}.jpg', image[:, ::-1].copy())
    Path('photographs/classes.txt').write_text('background\nred box\nblue box\n')
    page = repo / 'docs' / 'your_own_pictures.md'
    done = follow(page, TINY)
    assert done == ['config', 'browse', 'train', 'curves', 'test', 'test', 'compare', 'predict', 'publish']
    assert len(list(Path('look').rglob('*.png'))) == 4 and Path('curves.png').is_file()
    results = read_results('report')
    assert results.classes == ['background', 'red box', 'blue box'] and results.images == 2  # a fifth of 8
    assert read_results('report_crf').iou_before_crf is not None
    assert 'CRF gain' in Path('comparison/comparison.md').read_text()
    with Path('answers/areas.csv').open() as file:
        assert len(list(csv.DictReader(file))) >= 8
    for kind in ('mask', 'overlay', 'confidence'):
        assert len(list(Path('answers', kind).glob('new_*.png'))) == 8
    assert Image.open('answers/mask/new_0.png').size == (80, 80)
    (weights,) = Path('release').glob('mine-*.safetensors')
    assert load_file(weights)['meta']['dataset_meta']['classes'] == results.classes
    # The published config holds the tiny network; under it the page's lines of Python run as they are.
    Path('mine.py').write_text(weights.with_suffix('.py').read_text())
    capsys.readouterr()
    runpy.run_path('areas.py', run_name='__main__')
    assert capsys.readouterr().out.count('(80, 80)') == 8


def test_kidney_slides(repo, here):
    glass = np.full((600, 1000, 3), 245, np.uint8)
    for number in range(3):
        image, mask = picture(number, 600)
        slide, truth = glass.copy(), np.zeros((600, 1000), np.uint8)
        slide[:, :500], truth[:, :500] = image[:, :500], mask[:, :500]
        save(f'slides/images/slide_{number}.png', slide)
        save(f'slides/masks/slide_{number}.png', truth)
    assert follow(repo / 'docs/recipes/kidney_slides.md', TINY) == ['cut.py', 'config', 'train', 'test', 'predict']
    tiles = sorted(path.relative_to('tiles/images').as_posix() for path in Path('tiles/images').rglob('*.png'))
    # 600 x 1000 pixels have tiles at 0 and 448 each way, and at 896 nothing but glass.
    expected = [f'slide_{k}/{y}_{x}.png' for k in range(3) for y in (0, 448) for x in (0, 448)]
    assert tiles == sorted(expected)
    covered = np.zeros((600, 500), bool)
    for tile in Path('tiles/images/slide_0').iterdir():
        y, x = map(int, re.findall(r'\d+', tile.stem))
        part = np.asarray(Image.open(tile))
        source = np.asarray(Image.open('slides/images/slide_0.png'))
        assert (part == source[y : y + 512, x : x + 512]).all()
        covered[y : y + 512, x : x + 512] = True
    assert covered.all()
    assert read_results('report').images == 4 and len(list(Path('answers').rglob('*.png'))) == 12


def test_satellite_tiles(repo, here):
    colours = np.array([[60, 16, 152], [132, 41, 246], [226, 169, 41]], np.uint8)
    for tile in (1, 2):
        for part in range(3):
            image, mask = picture(10 * tile + part)
            save(f'dubai/Tile {tile}/images/image_part_{part:03}.png', image)
            save(f'dubai/Tile {tile}/masks/image_part_{part:03}.png', colours[mask])
    done = follow(repo / 'docs/recipes/satellite_tiles.md', TINY)
    assert done == ['prepare', 'config', 'browse', 'train', 'test', 'predict']
    assert (np.asarray(Image.open('data/dubai/masks/Tile 1/image_part_000.png')) == picture(10)[1]).all()
    assert read_results('report').classes == ['building', 'land', 'water']
    assert len(list(Path('answers').rglob('image_part_*.png'))) == 2 * 3


def test_many_bands(repo, here, capsys):
    """Configs of at most 15 lines take 13 bands, 4 bands and greys of 12 bits from training to answers."""
    names = {'sentinel': 'scene_{}.npy', 'aerial': '{}.png', 'scans': 'patient{}_1.png'}
    for folder, name in names.items():
        for number in range(6):
            image, mask = picture(number)
            path = Path(folder, 'images', name.format(number))
            save(path.parent.with_name('masks') / f'{path.stem}.png', mask)
            path.parent.mkdir(parents=True, exist_ok=True)
            if folder == 'sentinel':
                np.save(path, np.tile(image, 5)[..., :13].astype(np.uint16) * 39)
            elif folder == 'aerial':
                save(path, np.dstack([image, mask * 100]))
            else:
                save(path, image[..., 0].astype(np.uint16) * 16)
        Path(folder, 'classes.txt').write_text('background\nred box\nblue box\n')
    done = follow(repo / 'docs/recipes/many_bands.md', TINY)
    assert done == ['config', 'browse'] + 3 * ['train', 'test', 'predict']
    assert re.search(r'mean=\[(?:[\d.]+, ){12}[\d.]+\]', capsys.readouterr().out)
    for folder in names:
        assert len(Path(f'{folder}.py').read_text().splitlines()) <= 15
        report = read_results(f'{folder}_report')
        assert report.iou_before_crf is not None and report.images >= 1
        assert len(list(Path(f'{folder}_answers/mask').iterdir())) == 6


def test_rail_cracks(repo, here):
    for number in range(6):
        image, _ = picture(number)
        mask = np.zeros((80, 80), np.uint8)
        mask[40 + number, 10:70] = 255  # one pixel in a hundred
        image[mask == 255] = 10
        save(f'rails/images/{number}.jpg', image)
        save(f'rails/masks/{number}.png', mask)
    done = follow(repo / 'docs/recipes/rail_cracks.md', TINY)
    assert done == ['prepare', 'config', 'train', 'test', 'predict']
    results = read_results('report')
    assert results.metrics['mIoU_subset'] == round(results.iou[1], 2)
    assert list(Path('work_dirs/cracks').glob('best_mIoU_subset_*.pth'))
    assert list(Path('answers').rglob('*.npz'))
