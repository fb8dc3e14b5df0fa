"""Generate the demo dataset, a few hundred small pictures in PASCAL VOC layout, in seconds.

python tools/make_demo_dataset.py
python tools/make_demo_dataset.py /tmp/small --train 40 --val 10
"""

import argparse

from ..datasets.demo import make_demo_dataset


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Generate the demo dataset.')
    parser.add_argument('root', nargs='?', default='data/demo', help='folder to create (default: %(default)s)')
    parser.add_argument('--train', type=int, default=240, help='training pictures (default: %(default)s)')
    parser.add_argument('--val', type=int, default=60, help='validation pictures (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    try:
        made = make_demo_dataset(args.root, args.train, args.val, args.seed)
    except FileExistsError as error:
        parser.error(str(error))
    print(f'{"generated" if made else "already complete:"} {args.root} ({args.train} train, {args.val} val pictures)')
