"""Train a segmentor from a config file.

python tools/train.py configs/deeplabv3plus_mobilenetv2_demo.py
python tools/train.py configs/deeplabv3plus_r50_voc.py --data-root data/VOCdevkit/VOC2012 --amp
"""

import argparse
import sys

from ..preflight import FinishedError, check
from .configure import build_runner, close_process_group, load_train_config
from .options import add_common_arguments


def main() -> None:
    """Parse the command line, check the config against its data, and train."""
    parser = argparse.ArgumentParser(description='Train a segmentor', allow_abbrev=False)
    parser.add_argument('config', help='config file')
    add_common_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        metavar='auto|CHECKPOINT',
        help="go on from the work dir's latest checkpoint, or from this one; auto: start anew where there is none, "
        'and do nothing where the training is over',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on a GPU, bfloat16 on the CPU')
    parser.add_argument(
        '--deterministic',
        action='store_true',
        help='kernels whose result is the same every time, slower on a GPU; those that have none are warned of',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with batch size x devices / auto_scale_lr.base_batch_size',
    )
    args = parser.parse_args()
    cfg = load_train_config(args)
    try:
        check(cfg, 'train', check_all=args.check_all)
    except FinishedError as finished:
        if args.resume != 'auto':
            raise
        print(finished)  # a job that is queued again after its last step has done what it should
        return
    status = None
    try:
        build_runner(cfg).train()
    except SystemExit as left:  # by a signal; held on to, it would keep the runner
        status = left.code
    close_process_group()
    if status is not None:
        sys.exit(status)
