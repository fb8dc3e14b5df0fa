"""A test runs on a faster copy of the network."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..loops import take_loop


@HOOKS.register_module()
class FastInferenceHook(Hook):
    """Lets a test run on a copy of a `DeepLab` that is prepared for inference (`inference.fast`).

    The answers stay the same up to rounding; the runner's model, training and its validations are untouched.
    """

    def before_run(self, runner: Runner) -> None:
        """Tell the test loop."""
        loop = take_loop(runner, 'test')
        if loop is not None:
            loop.fast = True
