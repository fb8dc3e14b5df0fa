"""Turn a downloaded dataset into the tree that the configs expect: the same as `deeplab prepare`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('prepare')
