"""Draw losses and scores of trainings as one picture: the same as `deeplab curves`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('curves')
