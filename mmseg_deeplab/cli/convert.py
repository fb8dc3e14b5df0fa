"""Convert a checkpoint of another codebase.

Examples:
    python tools/convert_checkpoint.py deeplabv3_mnv2_voc.npz out.pth --from tensorflow \
        --config configs/deeplabv3_mobilenetv2_voc.py
    python tools/convert_checkpoint.py resnet101_v1c-e67eebb6.pth backbone.pth
    python tools/convert_checkpoint.py vgg16.pth pretrained/vgg16_4x4.pth --from vgg --variant 4x4
"""

import argparse

from ..checkpoints.conversion import convert_file
from ..checkpoints.convert import FORMATS
from ..config_files import read_config

VARIANTS = {'7x7': '7x7', '4x4': '4x4', 'largefov': 'LargeFOV'}
"""What is typed, and the `variant` of `DeepLabV1Head` that it means."""


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Convert a checkpoint of another codebase.')
    parser.add_argument(
        'src',
        help='checkpoint to read: .pth, .safetensors, .npz, .pkl, .pdparams, .h5, .caffemodel, a TensorFlow checkpoint '
        '(.index) or frozen graph (.pb), or a tar archive with one of these',
    )
    parser.add_argument('dst', help='checkpoint to write: .pth or .safetensors')
    parser.add_argument(
        '--from', dest='source_format', default='auto', choices=('auto', *FORMATS), help='layout of the source'
    )
    parser.add_argument('--config', help='config that it must fit; without, the one that fits is written')
    parser.add_argument(
        '--write-config', metavar='FILE', help='config to write, for test, predict and train; DST.py without --config'
    )
    parser.add_argument(
        '--calibrate',
        metavar='FOLDER',
        help='images like those to train on: measure the statistics of batch norm that the source has folded',
    )
    parser.add_argument(
        '--ema', action='store_true', help='take the averaged weights of a source that holds plain ones too'
    )
    parser.add_argument(
        '--variant',
        choices=VARIANTS,
        help="head of v1 for which VGG-16's fc6 and fc7 are made: largefov (3x3, 1024 filters; the default), 4x4, 7x7",
    )
    return parser.parse_args()


def main() -> None:
    """Convert and say what became of it."""
    args = parse_args()
    config = read_config(args.config).filename if args.config else None
    report = convert_file(
        args.src,
        args.dst,
        args.source_format,
        config,
        args.calibrate,
        args.write_config,
        args.ema,
        VARIANTS.get(args.variant),
    )
    print(report)
