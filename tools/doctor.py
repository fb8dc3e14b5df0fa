"""Say what is installed, what is missing and the command that mends it: the same as `deeplab doctor`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('doctor')
