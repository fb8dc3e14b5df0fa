"""Make of a checkpoint what others can use: the same as `deeplab publish`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('publish')
