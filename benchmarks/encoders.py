"""At which output strides timm's encoders have dense features that are their own; a row of a table for each.

python benchmarks/encoders.py resnet18 convnext_atto
"""

import argparse

from mmseg_deeplab.errors import UserError
from mmseg_deeplab.models import TimmEncoder
from mmseg_deeplab.models.atrous import OUTPUT_STRIDES

parser = argparse.ArgumentParser(description="Output strides of timm's encoders.")
parser.add_argument('names', nargs='+', help='as timm.list_models() has them')


def row(name: str) -> str:
    """Output strides of an encoder, its channels at the coarsest, and why it has no finer one."""
    strides, channels, reason = [], '', ''
    for output_stride in OUTPUT_STRIDES:
        try:
            channels = TimmEncoder(name, output_stride).feature_channels[-1]
            strides.append(str(output_stride))
        except UserError as error:
            reason = reason or str(error).partition(': ')[2].partition('. Use')[0]
    return f'| `{name}` | {", ".join(strides) or "none"} | {channels} | {reason} |'


if __name__ == '__main__':
    print('| encoder | output strides | channels | what stands against a finer one |\n|---|---|---|---|')
    for name in parser.parse_args().names:
        print(row(name), flush=True)
