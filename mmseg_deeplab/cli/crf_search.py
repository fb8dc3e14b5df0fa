"""Search the dense CRF's parameters on some validation images and check them on others.

python tools/crf_search.py configs/deeplabv2_r101_voc.py CHECKPOINT
python tools/crf_search.py CONFIG CHECKPOINT --grid v1 --mode fast --images 50 --held-out 50
python tools/crf_search.py CONFIG CHECKPOINT --bi-w 3 4 5 --pos-w 1 2 3 --pos-xy-std 1 2 3

May be interrupted: the same command goes on where it stopped. Writes preset.py, for `tools/test.py --crf FILE`, and
the surface of the mean IoU.
"""

import argparse
from pathlib import Path

from mmseg.registry import DATASETS

from ..crf.pool import allowed_cpus
from ..datasets import iter_datasets, set_data_root
from ..inference import init_model
from ..preflight.data import open_dataset
from ..search.run import format_report, search_crf, validation_of
from ..search.search import GRIDS
from .configure import load_config, use_published
from .options import CfgOptions

SEARCHED = ('bi_w', 'bi_xy_std', 'bi_rgb_std', 'pos_w', 'pos_xy_std')


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, search, print."""
    parser = argparse.ArgumentParser(description="Search the dense CRF's parameters", allow_abbrev=False)
    parser.add_argument('config', help='config file; its val_dataloader names the images')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', metavar='DIR', help='everything goes here; default work_dirs/crf_search/CONFIG')
    parser.add_argument('--data-root', metavar='DIR', help="the dataset's folder, in place of the config's")
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE', help='as in tools/test.py')
    parser.add_argument('--images', type=int, default=100, help='images to search on (default: %(default)s)')
    parser.add_argument('--held-out', type=int, default=100, help='others, to check on (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the choice of images')
    parser.add_argument('--grid', choices=sorted(GRIDS), default='v2', help="a paper's grid (default: %(default)s)")
    for name in SEARCHED:
        flag = '--' + name.replace('_', '-')
        parser.add_argument(flag, type=float, nargs='+', metavar='X', help=f'values of {name} in place of the grid')
    parser.add_argument('--iterations', type=int, default=10, help='mean-field updates (default: %(default)s)')
    parser.add_argument('--mode', default='adaptive', help='adaptive, all or fast, see docs/dense_crf.md')
    parser.add_argument('--backend', default='auto', help='auto, native, torch or pydensecrf')
    parser.add_argument('--classes', nargs='+', default=[], help='the classes whose mean IoU counts (default: all)')
    parser.add_argument('--workers', type=int, default=allowed_cpus(), help='threads (default: %(default)s)')
    parser.add_argument('--device', default='auto', help="the network's device (default: a GPU if there is one)")
    args = parser.parse_args(argv)
    use_published(args)

    cfg = load_config(args.config, args.cfg_options)
    if args.data_root:
        set_data_root(cfg, args.data_root)
    dataset, ignore_index = validation_of(cfg)
    for each in iter_datasets(dataset):
        open_dataset(each, 'val')
    chosen = {name: sorted(getattr(args, name)) for name in SEARCHED if getattr(args, name)}
    grid = {**GRIDS[args.grid], **chosen}
    fixed = dict(iterations=args.iterations, pos_w=3, pos_xy_std=3)  # as in both papers
    fixed = {name: value for name, value in fixed.items() if name not in grid}
    report = search_crf(
        init_model(cfg, args.checkpoint, args.device),
        DATASETS.build(dataset),
        source=f'{Path(args.config).stem} with {Path(args.checkpoint).name}',
        folder=Path(args.work_dir or Path('work_dirs', 'crf_search', Path(args.config).stem)),
        grid=grid,
        fixed={**fixed, 'mode': args.mode, 'backend': args.backend},
        images=args.images,
        held_out=args.held_out,
        seed=args.seed,
        workers=args.workers,
        class_subset=args.classes,
        ignore_index=ignore_index,
    )
    print(format_report(report))
