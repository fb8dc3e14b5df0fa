"""Turn a downloaded dataset into the tree that the configs expect (docs/datasets.md shows both).

python tools/prepare_dataset.py voc-aug --src ~/downloads --dst data/VOCdevkit/VOC2012
python tools/prepare_dataset.py colour-masks --src ~/dubai --dst data/dubai --classes dubai.txt --tolerance 20
python tools/prepare_dataset.py coco --src ~/roofs --dst data/roofs
"""

import argparse
from pathlib import Path

from ..datasets.prepare import PLANS, prepare


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Prepare a dataset. The source is only read; run again to continue.')
    parser.add_argument('name', choices=PLANS, metavar='NAME', help=', '.join(PLANS))
    parser.add_argument('--src', type=Path, required=True, help='folder with the unpacked downloads')
    parser.add_argument('--dst', type=Path, required=True, help='folder to make, the data_root of the config')
    parser.add_argument('--workers', type=int, help='processes (default: one a core, at most 8)')
    parser.add_argument('--copy', action='store_true', help='copy the images instead of linking them')
    parser.add_argument(
        '--classes', type=Path, help='classes file (colour-masks, class-masks, labelme, coco, cvat, label-studio)'
    )
    parser.add_argument('--tolerance', type=int, help='largest difference of a colour, 0..255 (colour-masks)')
    args = parser.parse_args(argv)
    options = {key: getattr(args, key) for key in ('classes', 'tolerance') if getattr(args, key) is not None}
    try:
        print(prepare(args.name, args.src, args.dst, args.workers, args.copy, **options))
    except TypeError as error:
        if 'unexpected keyword' not in str(error):
            raise
        parser.error(f'{args.name} does not take {", ".join(f"--{key}" for key in options)}')
