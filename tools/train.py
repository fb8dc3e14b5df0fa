"""Train a segmentor from a config file: the same as `deeplab train`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('train')
