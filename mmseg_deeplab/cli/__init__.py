"""The command line: `deeplab COMMAND` and tools/COMMAND.py are the same thing, one module a command."""

import importlib
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

from ..errors import UserError

COMMANDS = {
    'train': 'train a segmentor from a config file',
    'test': 'evaluate a checkpoint',
    'predict': 'segment pictures, folders and videos',
    'demo-server': 'show networks on a page in the browser',
    'pseudo-masks': 'make masks for training of activation maps and scores, or judge them',
    'export': 'write a network as ONNX, exported program or TorchScript, and prove it',
    'convert': 'convert a checkpoint of another codebase',
    'prepare': 'turn a downloaded dataset into the tree that the configs expect',
    'models': 'list published weights, which test, predict and train take by name',
    'config': 'print a ready config, or copy it for editing',
    'doctor': 'say what is installed, what is missing and the command that mends it',
    'browse': 'draw samples of a dataset as the network will see them',
    'compare': 'several evaluations side by side: table and picture',
    'curves': 'losses and scores of one or several trainings as a picture',
    'average': 'average the weights of several checkpoints',
    'publish': 'make of a checkpoint what others can use',
    'crf-search': "search the dense CRF's parameters",
    'crf-visualize': 'draw what the dense CRF does to one image',
    'get-flops': 'count parameters, multiply-adds and activations',
    'receptive-field': 'print and draw receptive fields',
    'make-demo-dataset': 'generate the demo dataset',
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run `deeplab COMMAND ...`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ('-h', '--help'):
        width = max(map(len, COMMANDS))
        print('usage: deeplab COMMAND ...\n')
        print('\n'.join(f'  {name:<{width}}  {text}' for name, text in COMMANDS.items()))
        print('\ndeeplab COMMAND --help says more of each.')
        return
    command, *rest = arguments
    if command not in COMMANDS:
        sys.exit(f'deeplab: there is no command {command!r}; choose one of {", ".join(COMMANDS)}')
    sys.argv = [f'deeplab {command}', *rest]
    run(command)


def run(command: str) -> None:
    """Run a command on the arguments of this process; errors that its user can mend end with one sentence."""

    # Threads of the network that wait for one another do so asleep: spinning for milliseconds, as is libgomp's habit,
    # they took a third of the processor from the CRF and the data loader. To be set before torch is imported.
    os.environ.setdefault('GOMP_SPINCOUNT', '20000')

    def main() -> None:
        if command != 'doctor':  # which says what is wrong with the stack
            importlib.import_module('..plugin', __name__)
        importlib.import_module(f'.{command.replace("-", "_")}', __name__).main()

    explain(main)


def explain(main: Callable[[], None]) -> None:
    """Call `main`; a `UserError` ends the process with its message instead of a traceback."""
    try:
        main()
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or 'interrupted', file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        message = explanation(error)
        if message is None:
            raise
        sys.exit(f'error: {message}')


def explanation(error: BaseException | None) -> str | None:
    """Return the message of the error, or of one that caused it, if it is one that its user can mend; else None.

    Errors of the data loader's processes arrive with the original traceback inside of the message.
    """
    while error is not None:
        if isinstance(error, UserError):
            text = str(error)
            if 'Original Traceback' in text:
                text = re.split(rf'^[\w.]*{type(error).__name__}: ', text, flags=re.MULTILINE)[-1].strip()
            return text
        error = error.__cause__ or error.__context__
    return None
