"""Segment pictures, folders and videos: the same as `deeplab predict`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('predict')
