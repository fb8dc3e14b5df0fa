"""List published weights that are downloaded and converted by name.

Examples:
    deeplab models
    deeplab models cityscapes
    deeplab test deeplabv3_resnet101_coco pretrained --data-root data/VOCdevkit/VOC2012
    deeplab predict deeplabv3_resnet101_coco pretrained photographs --out answers
"""

import argparse

from ..checkpoints.zoo import published


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description='List published weights, for use by name.')
    parser.add_argument('words', nargs='*', help='list only those whose name or data set holds all of these')
    args = parser.parse_args()
    rows = [('name', 'data set', 'mIoU', 'SHA-256', 'licence', 'address')]
    for name, entry in published().items():
        if all(word.lower() in f'{name} {entry.dataset}'.lower() for word in args.words):
            rows.append((name, entry.dataset, f'{entry.figure:.2f}', entry.sha256, entry.licence, entry.url))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for *cells, url in rows:
        print('  '.join(f'{cell:<{width}}' for cell, width in zip(cells, widths, strict=True)), url, sep='  ')
    print('\nmIoU is in percent and single-scale, as their authors publish it, by their own way of testing.')
