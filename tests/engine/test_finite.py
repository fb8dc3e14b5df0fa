"""A loss that is no number, and data without labels, end a training with what is wrong."""

import numpy as np
import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from tiny_training import Net, Points, tiny_runner
from torch import nn

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.engine import CPUAmpOptimWrapper
from mmseg_deeplab.engine.hooks import FiniteHook
from mmseg_deeplab.engine.hooks.finite import SCALED, VOID
from mmseg_deeplab.errors import UserError

HOOKS = [dict(type='ExactResumeHook'), dict(type='FiniteHook')]


class Pictures(Points):
    """Points that come with files and masks; `label` is what the masks hold, from picture `labelled_from` on."""

    def __init__(self, label=1, labelled_from=0):
        self.label, self.labelled_from = label, labelled_from

    def __len__(self):
        return 200

    def __getitem__(self, index):
        mask = torch.full((1, 4, 4), 255)
        if index >= self.labelled_from:
            mask[0, 1, 1] = self.label
        meta = dict(img_path=f'images/{index}.jpg', seg_map_path=f'masks/{index}.png')
        sample = SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=mask))
        return dict(inputs=np.array([index % 10, 1], dtype=np.float32), data_samples=sample)


class Broken(Net):
    """The loss, or the gradient alone, is broken at some iterations; `times` counts the passes."""

    def __init__(self, loss=None, gradient=(), value=float('nan')):
        super().__init__()
        self.broken, self.gradient, self.value, self.times = loss or [], gradient, value, 0

    def forward(self, inputs, data_samples=None, index=None, mode='tensor'):
        losses = super().forward(inputs, index or [0] * len(inputs), mode)
        self.times += 1
        factor = self.value if self.times in self.broken else 1.0
        if self.times in self.gradient:
            self.layer.weight.register_hook(lambda gradient: gradient * self.value)
        return dict(decode_loss_ce=losses['loss'] * factor, acc=losses['loss'].detach() * 0)


def runner_of(work_dir, model, max_iters=8, dataset=None, **kwargs):
    kwargs.setdefault('custom_hooks', HOOKS)
    runner = tiny_runner(work_dir, max_iters, model=model, hook=dict(interval=1, max_keep_ckpts=1), **kwargs)
    if dataset is not None:
        runner._train_dataloader['dataset'] = dataset
    return runner


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
def test_a_loss_that_is_not_finite_ends_the_training_at_once(value, tmp_path):
    model = Broken(loss=[4], value=value)
    with pytest.raises(UserError) as error:
        runner_of(tmp_path, model, dataset=Pictures(), sampler='ResumableSampler').train()
    text = str(error.value)
    assert f'not finite at iteration 4: loss {value}, decode_loss_ce {value}; learning rate 0.0' in text
    assert text.count('images/') == 3 and 'clip_grad' in text and 'lower optim_wrapper.optimizer.lr' in text
    assert f'the last good checkpoint is {tmp_path / "iter_3.pth"}' in text and model.times == 4
    state = load_file(tmp_path / 'iter_3.pth')['state_dict']
    assert all(torch.isfinite(value).all() for value in state.values()) and not (tmp_path / 'iter_4.pth').exists()


def test_before_the_first_checkpoint_and_without_names_it_is_said_too(tmp_path):
    with pytest.raises(UserError, match='iteration 1: .*batch of unnamed files.*no checkpoint to go on from yet'):
        runner_of(tmp_path, Broken(loss=[1])).train()


def test_a_rate_beyond_all_sense_ends_soon(tmp_path):
    """Weights explode first; the loss follows within some iterations, and no infinite weight was saved."""
    optim = dict(optimizer=dict(type='SGD', lr=1e30))
    with pytest.raises(UserError, match=r'(loss is not finite|NaN or infinity)'):
        runner_of(tmp_path, Broken(), 50, optim=optim).train()
    for path in tmp_path.glob('*.pth'):
        assert all(torch.isfinite(value).all() for value in load_file(path)['state_dict'].values())


def test_a_gradient_that_is_not_finite_is_found_with_the_weights(tmp_path):
    """The loss of that iteration is a number; the checkpoint after it must not be written."""
    with pytest.raises(UserError, match=r'iteration 3: layer\.weight.* NaN or infinity and are not saved'):
        runner_of(tmp_path, Broken(gradient=[3])).train()
    assert load_file(tmp_path / 'iter_2.pth')['meta']['iter'] == 2 and not (tmp_path / 'iter_3.pth').exists()


def test_averages_are_not_spoilt(tmp_path):
    """The hook looks before EMAHook takes the weights in, so what it holds is what was good."""
    ema = EMAHook()
    with pytest.raises(UserError):
        runner_of(tmp_path, Broken(loss=[3]), custom_hooks=[ema, FiniteHook()]).train()
    assert all(torch.isfinite(value).all() for value in ema.ema_model.state_dict().values())


class Scaled(AmpOptimWrapper):
    """MMEngine's mixed precision, which wants a GPU, with a scaler of the CPU."""

    def __init__(self, **kwargs):
        OptimWrapper.__init__(self, **kwargs)
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=2.0**10)
        self._scale_update_param = self.cast_dtype = None


def test_a_skipped_step_of_a_loss_scaler_is_no_alarm(tmp_path):
    """Neither for gradients beyond float16 nor for a loss, as long as they are few in a row."""
    for broken in (dict(gradient=[2, 3]), dict(loss=[2, 3, *range(5, 4 + SCALED)])):
        model = Broken(value=float('inf'), **broken)
        hook = [dict(type='FiniteHook')]
        runner = runner_of(tmp_path, model, 4 + SCALED, optim=dict(type=Scaled), custom_hooks=hook)
        runner.register_hook(Unhook(model))
        runner.train()
        assert model.times == 4 + SCALED
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())


class Unhook(Hook):
    """A gradient is broken for its iteration only."""

    def __init__(self, model):
        self.model = model

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.model.layer.weight._backward_hooks:
            self.model.layer.weight._backward_hooks.clear()


def test_losses_that_stay_broken_end_a_scaled_training(tmp_path):
    model = Broken(loss=range(3, 100), value=float('inf'))
    with pytest.raises(UserError, match=rf'at iteration {2 + SCALED}, for the {SCALED}th iteration in a row'):
        runner_of(tmp_path, model, 40, optim=dict(type=Scaled)).train()


def test_bfloat16_has_no_scaler_and_ends_at_once(tmp_path):
    optim = dict(type=CPUAmpOptimWrapper)
    with pytest.raises(UserError, match=r'iteration 2: .*mixed precision \(leave --amp out\)'):
        runner_of(tmp_path, Broken(loss=[2]), optim=optim).train()


@pytest.mark.parametrize('max_iters, told', [(200, VOID), (5, 5)])
def test_masks_without_a_labelled_pixel_end_the_training(max_iters, told, tmp_path):
    model = Broken()
    with pytest.raises(
        UserError, match=rf'the first {told} iterations had no labelled pixel.*label 255.*masks/\d+.png'
    ):
        runner_of(tmp_path, model, max_iters, dataset=Pictures(label=255)).train()
    assert model.times == told


def test_the_label_that_is_void_is_that_of_the_head(tmp_path):
    class Headed(Broken):
        def __init__(self):
            super().__init__()
            self.decode_head = nn.Identity()
            self.decode_head.ignore_index = 7

    # 255 is then a class like another
    runner_of(tmp_path / 'a', Headed(), 3, dataset=Pictures(label=7, labelled_from=0)).train()


def test_one_labelled_pixel_is_enough_and_no_masks_are_not_judged(tmp_path):
    dataset = Pictures(labelled_from=3 * (VOID - 1))
    runner = runner_of(tmp_path / 'a', Broken(), VOID + 5, dataset=dataset)
    runner._train_dataloader['sampler']['shuffle'] = False
    runner.train()
    runner_of(tmp_path / 'b', Broken(), VOID + 5).train()


def test_scores_that_are_no_number_are_said(tmp_path):
    runner = runner_of(tmp_path, Broken())
    messages = []
    runner.logger.warning = messages.append
    hook = next(hook for hook in runner.hooks if isinstance(hook, FiniteHook))
    for said in (hook.after_val_epoch, hook.after_test_epoch):
        said(runner, dict(mIoU=float('nan'), aAcc=3.0, images=2))
    assert len([message for message in messages if message.startswith('mIoU: nan')]) == 2
