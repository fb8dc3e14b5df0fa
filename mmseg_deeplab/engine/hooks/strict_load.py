"""A checkpoint fits the model or stops the run."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ...checkpoints.bands import inflate_network
from ...checkpoints.comparison import weights
from ...checkpoints.strict import check_fit, take_own_classifier, unwrap
from ...errors import UserError
from ...upstream import built_loops, checkpoint_of, resume_of


@HOOKS.register_module()
class StrictLoadHook(Hook):
    """Refuse a checkpoint that leaves parameters unset or does not fit, where the stack only warns.

    Applies to `load_from`, `resume` and test alike. What the checkpoint lacks on purpose is `data_preprocessor` and
    `num_batches_tracked`. A training from a network for three bands inflates its first convolution to the bands of the
    model (`checkpoints.bands.inflate_weight`).

    Args:
        drop_classifier: Train from `load_from` with classifiers of the model's own, because the classes are others.
            Named in the log; without meaning for resume, refused at test.
    """

    priority = 'VERY_HIGH'  # before EMAHook copies the weights

    def __init__(self, drop_classifier: bool = False):
        self.drop_classifier = drop_classifier

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint, about to be loaded, with the model.

        Raises:
            CheckpointMismatchError: With a table of the differences, their likely cause and what to do.
            ValueError: If a training is to be resumed from weights alone, or a model to be evaluated with
                `drop_classifier`.
        """
        source = str(checkpoint_of(runner) or 'the checkpoint')
        if resume_of(runner) and ('optimizer' not in checkpoint or 'iter' not in checkpoint.get('meta', {})):
            raise UserError(
                f'{source} holds weights only, no training state, so it can not be resumed; start from it with '
                f'load_from={source} (--cfg-options load_from={source})'
            )
        model = unwrap(runner.model)
        state = weights(checkpoint)
        starts = 'train' in built_loops(runner) and not resume_of(runner)
        if self.drop_classifier and not starts and not resume_of(runner):
            raise UserError(
                f'drop_classifier=True would evaluate {source} with an untrained classifier: leave '
                f'default_hooks.strict_load.drop_classifier out when testing'
            )
        if starts:
            if self.drop_classifier:
                take_own_classifier(model, state, source)
            inflate_network(model, state, source)
            loaded_next = checkpoint.get('state_dict', checkpoint)
            loaded_next.clear()
            loaded_next.update(state)
        check_fit(model, state, source, own_crf=not resume_of(runner))
