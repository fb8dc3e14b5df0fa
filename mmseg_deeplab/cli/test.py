"""Evaluate a checkpoint.

python tools/test.py configs/deeplabv3plus_mobilenetv2_demo.py work_dirs/.../iter_800.pth --show-dir pictures
python tools/test.py configs/deeplabv3plus_r101_voc.py CHECKPOINT --eval-output-stride 8 --tta --crf v2_r101
"""

import argparse

from ..preflight import check
from .configure import build_runner, close_process_group, load_test_config
from .options import add_common_arguments, add_refiner_arguments


def main() -> None:
    """Parse the command line, check the config against its data, and test."""
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint', allow_abbrev=False)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    add_common_arguments(parser)
    parser.add_argument('--out', metavar='DIR', help='save the predicted label maps as palette PNGs')
    parser.add_argument('--show-dir', metavar='DIR', help='draw image, truth and prediction side by side')
    parser.add_argument('--report', metavar='DIR', help='write one HTML page: tables, plots, worst and best images')
    parser.add_argument('--tta', action='store_true', help='average over the scales and flips of tta_pipeline')
    parser.add_argument(
        '--eval-output-stride', type=int, metavar='N', help='same weights at another output stride: 8, 16 or 32'
    )
    add_refiner_arguments(parser)
    args = parser.parse_args()
    cfg = load_test_config(args)
    check(cfg, 'test', check_all=args.check_all)
    build_runner(cfg).test()
    close_process_group()
