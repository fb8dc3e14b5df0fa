"""List published weights: the same as `deeplab models`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('models')
