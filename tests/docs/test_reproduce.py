"""docs/reproduce.md: one row for each published figure that a config quotes, as the config states it.

    python tests/docs/test_reproduce.py

writes the page's tables anew; what stands before the first one is left as it is.
"""

import re
from pathlib import Path

from mmengine.config import Config

REPO = Path(__file__).resolve().parents[2]
PAGE = REPO / 'docs' / 'reproduce.md'
PAPERS = {
    'v1': 'v1: Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs (1412.7062)',
    'v2': 'v2: DeepLab (1606.00915)',
    'v3': 'v3: Rethinking Atrous Convolution (1706.05587)',
    'v3+': 'v3+: Encoder-Decoder with Atrous Separable Convolution (1802.02611)',
    'TensorFlow release': 'Model zoo of the TensorFlow release',
    'COCO-Stuff': 'COCO-Stuff',
}
HEAD = '| published | config | data | starts from | batch x iterations | images seen |\n|---|---|---|---|---|---|\n'


def _claim(path: Path) -> str:
    """What a config's header says before its command."""
    lines = [line.lstrip('# ') for line in path.read_text().splitlines() if line.startswith('#')]
    return ' '.join(lines[: next(i for i, line in enumerate(lines) if line.startswith('python '))])


def _start(config: Config) -> str:
    """The file of weights that the config begins with."""
    backbone = config.model.backbone.get('init_cfg') or {}
    file = str(config.get('load_from') or backbone.get('checkpoint') or 'random')
    return file.rsplit('/', 1)[-1] if file.startswith('https://') else file


def _data(config: Config) -> str:
    dataset = config.train_dataloader.dataset
    dataset = dataset.get('dataset', dataset)
    lists = Path(dataset.get('ann_file') or '').stem
    return ' '.join(filter(None, (config.dataset_type.removesuffix('Dataset'), lists)))


def _row(path: Path, claim: str, config: Config) -> str:
    batch, iterations = config.train_dataloader.batch_size, config.train_cfg.max_iters
    cells = (
        claim,
        f'`{path.relative_to(REPO / "configs")}`',
        _data(config),
        f'`{_start(config)}`',
        f'{batch} x {iterations}',
        f'{batch * iterations / 1e6:.2g} million',
    )
    return '| ' + ' | '.join(cells) + ' |\n'


def tables() -> str:
    """A table for each source, of all configs that quote a figure of it."""
    rows: dict[str, list[str]] = {paper: [] for paper in PAPERS}
    for path in sorted((REPO / 'configs').rglob('*.py')):
        if '_base_' in path.parts:
            continue
        claim = _claim(path)
        source = re.match(rf'({"|".join(map(re.escape, PAPERS))})(?:, |: | )(.*)', claim)
        if source and 'no published figure' not in claim and re.search(r'(?<![\d.])\d\d\.\d{1,2}(?![\d.])', claim):
            rows[source[1]].append(_row(path, source[2], Config.fromfile(path)))
    return '\n'.join(f'## {PAPERS[paper]}\n\n{HEAD}{"".join(lines)}' for paper, lines in rows.items())


def test_every_published_figure_has_its_row():
    page = PAGE.read_text()
    assert page.endswith(tables()), 'run python tests/docs/test_reproduce.py'


if __name__ == '__main__':
    page = PAGE.read_text()
    PAGE.write_text(page[: page.index('\n## v') + 1] + tables())
