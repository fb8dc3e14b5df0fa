"""Evaluate a checkpoint: the same as `deeplab test`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('test')
