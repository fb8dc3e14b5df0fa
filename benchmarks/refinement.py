"""What refines a network's answer, side by side: mean IoU, mean IoU near boundaries, CPU seconds an image.

    python benchmarks/refinement.py configs/deeplabv3_mobilenetv2_voc.py mnv2.pth --data-root VOC2012_ANIMALS \
        --classes background cat cow dog horse person sheep [--sam FOLDER]

Nothing, six scales and flips (`--tta`), the guided filter, SAM and the dense CRF, each on every image of the config's
test set, one after the other on one image. Seconds are CPU time of the process, from the file to the labels, as other
work on the machine does not change it much; the first image is not timed. Without `--sam`, a folder of SAM's weights,
its row is unmeasured.
"""

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_deeplab.datasets import set_data_root
from mmseg_deeplab.evaluation.confusion import Scores, confusion_matrix
from mmseg_deeplab.evaluation.trimap import trimap_width
from mmseg_deeplab.inference import GuidedFilter, SAMRefiner, init_model, make_crf, predict


class Row:
    """One way to refine, and what came of it."""

    def __init__(self, classes: int, **options: Any):
        self.options = options
        self.matrices = [np.zeros((classes, classes), np.int64) for _ in range(2)]  # of all pixels, of the trimap's
        self.seconds: list[float] = []

    def add(self, model: Any, path: str, truth: np.ndarray, trimap: np.ndarray) -> None:
        """Segment one image and count its pixels, all and those of the trimap."""
        start = time.process_time()
        prediction: Any = predict(model, path, workers=0, **self.options)
        self.seconds.append(time.process_time() - start)
        for matrix, judged in zip(self.matrices, (truth, np.where(trimap, truth, 255)), strict=True):
            matrix += confusion_matrix(judged, prediction.labels.astype(np.int64), len(matrix), 255)

    def text(self, name: str, chosen: list[int]) -> str:
        """A line of the table: means over those of the chosen classes that are in the truth."""
        ious = [Scores.of(matrix).iou[[label for label in chosen if matrix[label].any()]] for matrix in self.matrices]
        miou, near = (100 * float(iou.mean()) for iou in ious)
        timed = self.seconds[1:] or self.seconds
        return f'| {name} | {miou:.2f} | {near:.2f} | {statistics.fmean(timed):.2f} |'


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--data-root', required=True)
    parser.add_argument('--classes', nargs='+', help='the means are over these (default: all)')
    parser.add_argument('--width', type=int, default=5, help='of the trimap, pixels')
    parser.add_argument('--images', type=int, help='so many, evenly spread (default: all)')
    parser.add_argument('--crf', default='v2_r101', help='preset or file')
    parser.add_argument('--sam', metavar='FOLDER', help="SAM's weights, as transformers save them")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = init_model(args.config, args.checkpoint, 'cpu')
    set_data_root(model.cfg, args.data_root)
    dataset = DATASETS.build({**model.cfg.test_dataloader.dataset, 'pipeline': []})
    names = list(dataset.metainfo['classes'])
    chosen = [names.index(name) for name in args.classes or names]
    rows: dict[str, Row | None] = {
        'network': Row(len(names)),
        'six scales and flips': Row(len(names), tta=True),
        'guided filter': Row(len(names), crf=GuidedFilter()),
        'SAM': Row(len(names), crf=SAMRefiner(args.sam)) if args.sam else None,
        f'dense CRF, {args.crf}': Row(len(names), crf=make_crf(args.crf)),
    }
    count = min(args.images or len(dataset), len(dataset))
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int):
        info = dataset.get_data_info(int(index))
        truth = np.array(Image.open(info['seg_map_path'])).astype(np.int64)
        width = trimap_width(truth)
        for row in filter(None, rows.values()):
            row.add(model, info['img_path'], truth, (width > 0) & (width <= args.width))
    print(f'{count} images, {len(chosen)} classes, one thread, torch {torch.__version__}')
    print(f'| refined by | mIoU | mIoU within {args.width} pixels of a boundary | CPU seconds an image |')
    print('|---|---|---|---|')
    for name, row in rows.items():
        print(row.text(name, chosen) if row else f'| {name} | unmeasured: no weights here | | |')


if __name__ == '__main__':
    main()
