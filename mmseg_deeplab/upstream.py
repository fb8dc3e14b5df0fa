"""Every private symbol of MMEngine, MMSegmentation and MMCV that this package relies on.

Private names change without a notice. So all of them are named in `PRIVATE`, where importing this module checks that
the installed stack has them and that its own code still uses them: an attribute that nobody reads, or a method that
nobody calls, could be set or overridden for ever without an effect. The rest of the package reads and sets them by the
functions below; what a class of ours overrides, or inherits and calls on itself, needs the row in `PRIVATE` only.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import mmcv
import mmengine
import mmseg
from mmcv.transforms import LoadAnnotations
from mmengine.dataset import BaseDataset
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import BaseModule
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper, PolyLR
from mmengine.runner import BaseLoop, CheckpointLoader, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner import checkpoint as checkpoint_module
from mmengine.visualization import Visualizer
from mmseg.apis import MMSegInferencer
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder
from torch.utils.data._utils.fetch import _MapDatasetFetcher

from .errors import UserImportError


class Private(NamedTuple):
    """A name that is relied on.

    Attributes:
        owner: The class or module that has it.
        name: The attribute, method, or name in a registry.
        user: The method of `owner` whose code uses the name, so that what is set or overridden has an effect.
        parameters: Of the method or function `name`, without `self`; None for what is not called.
    """

    owner: Any
    name: str
    user: str | None
    parameters: tuple[str, ...] | None = None


PRIVATE = (
    # read or set by the functions below
    Private(Runner, '_load_from', 'load_or_resume'),
    Private(Runner, '_resume', 'load_or_resume'),
    Private(Runner, '_has_loaded', 'load_or_resume'),
    Private(Runner, '_train_loop', 'train_loop'),
    Private(Runner, '_val_loop', 'val_loop'),
    Private(Runner, '_test_loop', 'test_loop'),
    Private(Runner, '_timestamp', 'timestamp'),
    Private(Runner, '_randomness_cfg', '__init__'),
    Private(IterBasedTrainLoop, '_iter', 'run'),
    Private(IterBasedTrainLoop, '_decide_current_val_interval', 'run', ()),
    Private(EpochBasedTrainLoop, '_decide_current_val_interval', 'run', ()),
    Private(OptimWrapper, '_accumulative_counts', 'should_update'),
    Private(Visualizer, '_instance_dict', 'get_instance'),
    Private(CheckpointLoader, '_schemes', '_get_checkpoint_loader'),
    Private(CheckpointHook, '_default_greater_keys', '__init__'),
    Private(checkpoint_module, '_get_mmengine_home', 'get_external_models', ()),
    Private(checkpoint_module, '_process_mmcls_checkpoint', None, ('checkpoint',)),
    # overridden in a class of ours
    Private(CheckpointHook, '_save_checkpoint_with_step', '_save_checkpoint', ('runner', 'step', 'meta')),
    Private(CheckpointHook, '_save_best_checkpoint', 'after_val_epoch', ('runner', 'metrics')),
    Private(Runner, '_init_model_weights', 'train', ()),
    Private(BaseModule, '_dump_init_info', 'init_weights', ()),
    Private(DefaultOptimWrapperConstructor, '_validate_cfg', '__init__', ()),
    Private(PolyLR, '_get_value', 'step', ()),
    Private(Hook, '_before_epoch', 'before_test_epoch', ('runner', 'mode')),
    Private(Hook, '_after_epoch', 'after_test_epoch', ('runner', 'mode')),
    Private(Hook, '_after_iter', 'after_test_iter', ('runner', 'batch_idx', 'data_batch', 'outputs', 'mode')),
    Private(BaseDataset, '_join_prefix', '__init__', ()),
    Private(LoadAnnotations, '_load_seg_map', 'transform', ('results',)),
    Private(EncoderDecoder, '_init_decode_head', '__init__', ('decode_head',)),
    Private(EncoderDecoder, '_init_auxiliary_head', '__init__', ('auxiliary_head',)),
    Private(EncoderDecoder, '_forward', 'forward', ('inputs', 'data_samples')),
    # inherited by a class of ours, which calls or reads it
    Private(PolyLR, '_global_step', 'step'),
    Private(BaseDecodeHead, '_transform_inputs', None, ('inputs',)),
    Private(BaseDecodeHead, '_stack_batch_gt', 'loss_by_feat', ('batch_data_samples',)),
    Private(EncoderDecoder, '_auxiliary_head_forward_train', 'loss', ('inputs', 'data_samples')),
    # public names that ours are put under, where nothing but the stock code's use of them tells that they count
    Private(IterBasedTrainLoop, 'dataloader_iterator', 'run'),
    Private(_MapDatasetFetcher, '__getitems__', 'fetch'),
    Private(MMSegInferencer, 'LoadImageFromFile', '_init_pipeline'),
    Private(BaseDataset, 'get_data_info', 'prepare_data'),
)


def missing(private: Private) -> str | None:
    """What the installed stack lacks of a name that is relied on, None if nothing."""
    owner, name, user, parameters = private
    if parameters is not None:
        method = getattr(owner, name, None)
        if method is None:
            return f'{owner.__name__}.{name} is gone'
        own = tuple(key for key in inspect.signature(method).parameters if key != 'self')
        if own != parameters:
            return f'{owner.__name__}.{name} takes {own}, not {parameters}'
    if user is not None:
        code = getattr(owner, user, None)
        if code is None:
            return f'{owner.__name__}.{user}, which uses {name}, is gone'
        code = code.fget if isinstance(code, property) else inspect.unwrap(code)
        if name not in _names(code.__code__):
            return f'{owner.__name__}.{user} no longer uses {name}'
    return None


def _names(code: CodeType) -> set[str]:
    """All attributes, globals and texts that a function's code mentions, functions inside of it included."""
    found = {*code.co_names, *(const for const in code.co_consts if isinstance(const, str))}
    return found.union(*(_names(const) for const in code.co_consts if isinstance(const, CodeType)))


_MISSING = [problem for private in PRIVATE if (problem := missing(private))]
if _MISSING:
    raise UserImportError(
        f'mmseg_deeplab does not work with this mmengine {mmengine.__version__}, mmseg {mmseg.__version__} and mmcv '
        f'{mmcv.__version__}, which differ inside from those it was made for: {"; ".join(_MISSING)}. Install the '
        f'versions of constraints.txt'
    )


def checkpoint_of(runner: Runner) -> str | None:
    """The checkpoint that a runner starts from, resumes or tests."""
    return runner._load_from


def set_checkpoint(runner: Runner, path: str | Path) -> None:
    """Let a runner start from another checkpoint."""
    runner._load_from = str(path)


def resume_of(runner: Runner) -> bool | str:
    """Whether a runner is to resume; 'auto': if it can."""
    return runner._resume


def has_loaded(runner: Runner) -> bool:
    """Whether a runner's weights come from its checkpoint already, which it reads once."""
    return runner._has_loaded


def cancel_resume(runner: Runner) -> None:
    """Let a runner start anew."""
    runner._resume = False


def built_loops(runner: Runner) -> dict[str, BaseLoop]:
    """The loops of a runner that this run uses, by 'train', 'val' and 'test'; others are still their config."""
    loops = dict(train=runner._train_loop, val=runner._val_loop, test=runner._test_loop)
    return {name: loop for name, loop in loops.items() if isinstance(loop, BaseLoop)}


def set_loop(runner: Runner, stage: str, loop: BaseLoop) -> None:
    """Put another loop in the place of that of 'val' or 'test'."""
    setattr(runner, f'_{stage}_loop', loop)


def count_iteration(loop: IterBasedTrainLoop) -> None:
    """Count an iteration as done, as a training loop does after the hooks that follow it."""
    loop._iter += 1


def is_to_validate(runner: Runner) -> bool:
    """Whether a training validates after the step at which it stands, as its loop decides it."""
    loop = runner.train_loop
    if runner.val_loop is None or not isinstance(loop, IterBasedTrainLoop | EpochBasedTrainLoop):
        return False
    loop._decide_current_val_interval()
    done, end = loop.iter, loop.max_iters
    if isinstance(loop, EpochBasedTrainLoop):
        if done != loop.epoch * len(loop.dataloader):  # within an epoch
            return False
        done, end = loop.epoch, loop.max_epochs
    return done >= max(1, loop.val_begin) and (done % loop.val_interval == 0 or done == end)


def set_timestamp(runner: Runner, timestamp: str) -> None:
    """Rename a run, which is called by its start, before its logger is built."""
    runner._timestamp = timestamp


def has_seed_of_rank(runner: Runner) -> bool:
    """Whether each process adds its rank to the seed (`randomness.diff_rank_seed`)."""
    return bool(runner._randomness_cfg.get('diff_rank_seed'))


def accumulation(wrapper: Any) -> int:
    """Over how many iterations an optimizer wrapper accumulates gradients."""
    return getattr(wrapper, '_accumulative_counts', 1)  # a dict of wrappers has none


def has_visualizer() -> bool:
    """Whether this process has a visualizer.

    To ask MMEngine for the current one where there is none raises, and leaves a lock closed, for which every other
    thread that writes a line of the log then waits for ever.
    """
    return bool(Visualizer._instance_dict)


def loader_schemes() -> dict[str, Any]:
    """MMEngine's checkpoint loaders by the prefix of the paths that they read."""
    return dict(CheckpointLoader._schemes)


def default_greater_keys() -> list[str]:
    """The scores of which MMEngine's checkpoint hook knows that more is better."""
    return list(CheckpointHook._default_greater_keys)


def mmengine_home() -> Path:
    """The folder in which MMEngine keeps its own list of models, and local files that the list names."""
    return Path(checkpoint_module._get_mmengine_home())


def mmcls_backbone(checkpoint: Mapping) -> dict:
    """The backbone of a classification checkpoint of OpenMMLab, without its prefix."""
    return checkpoint_module._process_mmcls_checkpoint(checkpoint)
