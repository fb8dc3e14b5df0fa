"""Print a ready config with the files that it is based on, or copy it for editing: the same as `deeplab config`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('config')
