"""Print and draw the receptive fields of a config's network: the same as `deeplab receptive-field`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('receptive-field')
