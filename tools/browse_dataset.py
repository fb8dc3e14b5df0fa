"""Draw samples of a config's dataset as the network will see them: augmented, padded, channels in order.

python tools/browse_dataset.py configs/deeplabv3plus_mobilenetv2_demo.py --out pictures
python tools/browse_dataset.py configs/_base_/datasets/voc12_aug.py --data-root ~/VOC2012 --count 50
"""

import argparse

from mmengine.config import Config, DictAction

import mmseg_deeplab  # noqa: F401  registers the datasets, also where a base file has no custom_imports
from mmseg_deeplab.datasets import set_data_root
from mmseg_deeplab.datasets.browse import browse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Draw samples of a dataset as the network will see them.')
    parser.add_argument('config', help='config, or a base file of configs/_base_/datasets')
    parser.add_argument('--out', default='work_dirs/browse', help='folder for the pictures (default: %(default)s)')
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='train')
    parser.add_argument('--count', type=int, default=16, help='samples, spread over the set (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the augmentation')
    parser.add_argument('--data-root', help='folder of the data, in place of that of the config')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    args = parser.parse_args(argv)
    try:
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options)
        if args.data_root:
            set_data_root(cfg, args.data_root)
        print(browse(cfg, args.out, args.split, args.count, args.seed))
    except (ValueError, FileNotFoundError) as error:
        parser.exit(1, f'{parser.prog}: {error}\n')
    print(f'pictures: {args.out}')


if __name__ == '__main__':
    main()
