"""Draw samples of a config's dataset as the network will see them: the same as `deeplab browse`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('browse')
