"""Make masks for training of activation maps and scores: the same as `deeplab pseudo-masks`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('pseudo-masks')
