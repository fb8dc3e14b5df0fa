"""Draw samples of a config's dataset as the network will see them: augmented, padded, channels in order.

python tools/browse_dataset.py configs/deeplabv3plus_mobilenetv2_demo.py --out pictures
python tools/browse_dataset.py configs/_base_/datasets/voc12_aug.py --data-root ~/VOC2012 --count 50
python tools/browse_dataset.py mine.py --statistics
"""

import argparse

from ..datasets import iter_datasets, set_data_root
from ..datasets.browse import browse, measure
from ..preflight.data import open_dataset
from .configure import load_config
from .options import CfgOptions


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, check that the data is there, draw."""
    parser = argparse.ArgumentParser(description='Draw samples of a dataset as the network will see them.')
    parser.add_argument('config', help='config, or a base file of configs/_base_/datasets')
    parser.add_argument('--out', default='work_dirs/browse', help='folder for the pictures (default: %(default)s)')
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='train')
    parser.add_argument('--count', type=int, default=16, help='samples, spread over the set (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the augmentation')
    parser.add_argument(
        '--statistics', action='store_true', help='measure mean and std of each channel instead of drawing'
    )
    parser.add_argument('--data-root', help='folder of the data, in place of that of the config')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE', help='as in tools/train.py')
    args = parser.parse_args(argv)
    cfg = load_config(args.config, args.cfg_options)
    if args.data_root:
        set_data_root(cfg, args.data_root)
    for dataset in iter_datasets(cfg.get(f'{args.split}_dataloader') or {}):
        open_dataset(dataset, args.split)
    if args.statistics:
        mean, std = measure(cfg, args.split)
        print(f'mean={[round(value, 4) for value in mean]}, std={[round(value, 4) for value in std]}')
        return
    print(browse(cfg, args.out, args.split, args.count, args.seed))
    print(f'pictures: {args.out}')
