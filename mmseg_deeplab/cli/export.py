"""Write a network as a file for other runtimes, and prove that it answers as the network does.

python tools/export.py configs/deeplabv3plus_r101_voc.py CHECKPOINT --out model.onnx
python tools/export.py CONFIG CHECKPOINT --out pictures_to_labels.onnx --uint8 --images photographs
python tools/export.py CONFIG CHECKPOINT --out small.onnx --uint8 --int8 photographs

The file takes images of any number, height and width. Where a label differs nothing is written, and the exit code is 1.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..datasets.bands import Bands
from ..datasets.headers import read_bytes
from ..datasets.images import read_image
from ..inference import export_model, init_model
from ..inference.export import SUFFIXES
from ..inference.pipelines import bands_of
from ..inference.readers import VIDEOS, files_of
from .configure import load_config, use_published
from .options import CfgOptions

CALIBRATION = 64
"""Pictures that the ranges for 8 bit are measured on, at most."""


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, export, say what was proven."""
    parser = argparse.ArgumentParser(description='Write a network for other runtimes', allow_abbrev=False)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', metavar='FILE', help='file to write (default: the name of the config)')
    parser.add_argument('--format', default='onnx', choices=SUFFIXES, help='default: onnx')
    parser.add_argument('--uint8', action='store_true', help='uint8 pictures in, uint8 labels and confidence out')
    parser.add_argument(
        '--int8', metavar='FOLDER', help=f'compute in 8 bit, with ranges measured on {CALIBRATION} of these pictures'
    )
    parser.add_argument('--images', metavar='FOLDER', help='pictures to prove the file on (default: generated ones)')
    parser.add_argument('--eval-output-stride', type=int, metavar='N', help='same weights at another output stride')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE', help='as in tools/test.py')
    args = parser.parse_args(argv)
    use_published(args)
    out = Path(args.out or Path(args.config).stem + SUFFIXES[args.format])
    model = init_model(
        load_config(args.config, args.cfg_options), args.checkpoint, 'cpu', output_stride=args.eval_output_stride
    )
    bands = bands_of(model)
    calibration = None if args.int8 is None else list(_pictures(args.int8, bands, CALIBRATION))
    checks = export_model(
        model,
        out,
        args.format,
        args.uint8,
        calibration if args.images is None else _pictures(args.images, bands),
        calibration,
    )
    for check in checks:
        print(check)
    if min(check.classes for check in checks) == 1:
        print('All of these pixels are of one class, which proves little: give pictures like those to come, --images')
    print(f'{out}: {out.stat().st_size / 2**20:.1f} MiB')


def _pictures(folder: str, bands: Bands | None, most: int | None = None) -> Iterator[np.ndarray]:
    files = [path for path in files_of(folder) if path.suffix.lower() not in VIDEOS]
    step = 1 if most is None else -(-len(files) // most)
    for path in files[::step]:
        yield bands.decode(read_bytes(path, 'image'), path)[0] if bands else read_image(path)
