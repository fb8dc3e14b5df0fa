"""Convert a checkpoint of another codebase: the same as `deeplab convert`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('convert')
