"""Two processes train the network that one process trains, log its loss, and share one set of statistics."""

import json
import multiprocessing
import os

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from tiny_training import tiny_runner
from torch import nn
from torch.utils.data import Dataset

from mmseg_deeplab.engine import DeepLabRunner
from mmseg_deeplab.engine.hooks import checkpoint
from mmseg_deeplab.errors import UserError

MOBILENET = dict(type='DeepLabMobileNetV2', width=0.25)
V3 = dict(type='DeepLabV3Head', channels=8, rates=(6,), aspp_dropout=0)
HEADS = {
    'cross entropy': dict(V3),
    'weights': dict(V3, loss_decode=dict(type='SegCrossEntropy', class_weight=[0.5, 3.0, 1.0], boundary_weight=2)),
    'dice and lovasz': dict(
        V3, loss_decode=[dict(type='DiceLoss'), dict(type='LovaszLoss', per_image=True), dict(type='FocalLoss')]
    ),
}


class Pictures(Dataset):
    """Sixteen pictures of noise, whose labels are void to very different parts; one has no label at all."""

    metainfo = dict(classes=('a', 'b', 'c'))

    def __len__(self):
        return 16

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        label = torch.randint(3, (1, 33, 33), generator=generator)
        label[:, : 2 * index + 1 if index != 5 else 33] = 255
        meta = dict(img_shape=(33, 33), ori_shape=(33, 33), pad_shape=(33, 33), sample_idx=index)
        sample = SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=label))
        return dict(inputs=torch.randint(256, (3, 33, 33), generator=generator).byte(), data_samples=sample)


def train(work_dir, head, processes, launcher='none', frozen=('backbone', 'decode_head'), **model):
    """Four iterations of four pictures in all; returns weights and statistics, and what was logged or warned of."""
    torch.manual_seed(0)
    preprocessor = dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3, size=(33, 33))
    runner = DeepLabRunner(
        model=dict(
            type='DeepLab',
            data_preprocessor=preprocessor,
            backbone=MOBILENET,
            decode_head=dict(head, num_classes=3),
            frozen_bn=frozen,
            **model,
        ),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=4 // processes,
            num_workers=0,
            dataset=Pictures(),
            sampler=dict(type='ResumableSampler', shuffle=True),
        ),
        train_cfg=dict(by_epoch=False, max_iters=4, val_interval=100),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.02, momentum=0.9)),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=None,
            batch_norm=dict(type='BatchNormHook'),
            batch_loss=dict(type='BatchLossHook'),
        ),
        custom_hooks=[dict(type='ExactResumeHook')],
        default_scope='mmseg',
        randomness=dict(seed=3),
        experiment_name=f'two_{os.getpid()}_{launcher}',
        launcher=launcher,
    )
    warnings = []
    runner.logger.warning = warnings.append
    runner.train()
    model = runner.model.module if launcher != 'none' else runner.model
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    logged = {
        name: value.data[0].tolist() for name, value in runner.message_hub.log_scalars.items() if 'decode' in name
    }
    return state, {**logged, 'warnings': warnings}


def in_two(tmp_path, *arguments, **options):
    """What each of two processes returns."""
    context = multiprocessing.get_context('fork')

    def work(rank):
        try:
            os.environ.update(LOCAL_RANK=str(rank), RANK=str(rank))
            address = f'file://{tmp_path}/rendezvous'
            torch.distributed.init_process_group('gloo', init_method=address, rank=rank, world_size=2)
            state, logged = train(tmp_path / 'two', *arguments, processes=2, launcher='pytorch', **options)
            torch.save(state, tmp_path / f'state_{rank}.pth')
            (tmp_path / f'logged_{rank}.json').write_text(json.dumps(logged))
        finally:
            os._exit(0)

    processes = [context.Process(target=work, args=(rank,)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    return [
        (torch.load(tmp_path / f'state_{rank}.pth'), json.loads((tmp_path / f'logged_{rank}.json').read_text()))
        for rank in (0, 1)
    ]


@pytest.mark.parametrize('name', HEADS)
def test_two_processes_train_what_one_trains(name, tmp_path, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    alone, logged = train(tmp_path / 'one', HEADS[name], processes=1)
    others = in_two(tmp_path, HEADS[name])
    for state, values in others:
        assert max((value.float() - alone[key].float()).abs().max().item() for key, value in state.items()) < 1e-5
        assert values.pop('warnings') == []
        assert values.keys() == logged.keys() - {'warnings'} and any('loss' in key for key in logged)
        for key in values:
            assert values[key] == pytest.approx(logged[key], rel=1e-4, abs=1e-5), key


def test_four_losses_of_v2(tmp_path, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    head = dict(type='DeepLabV2Head', rates=(6, 12))
    options = dict(output_stride=8, multi_scale_inputs=(1.0, 0.5))
    alone, _ = train(tmp_path / 'one', head, processes=1, **options)
    for state, _ in in_two(tmp_path, head, **options):
        assert max((value.float() - alone[key].float()).abs().max().item() for key, value in state.items()) < 1e-5


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_statistics_are_those_of_all_processes(norm, tmp_path, monkeypatch):
    """With batch norm trained: one model in both, whose first statistics are the mean of those of both halves."""
    monkeypatch.setenv('LOCAL_RANK', '0')
    (first, told), (second, _) = in_two(
        tmp_path, HEADS['cross entropy'], frozen=(), norm_cfg=dict(type=norm, requires_grad=True)
    )
    assert [warning[:18] for warning in told['warnings']] == ['SyncBN needs GPUs:'] * (norm == 'SyncBN')
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert any('running_mean' in name and value.any() for name, value in first.items())


def test_one_process_writes_the_log(tmp_path, monkeypatch):
    """One console, one log file and one set of scalars, whatever the number of processes."""
    monkeypatch.setenv('LOCAL_RANK', '0')
    in_two(tmp_path, HEADS['cross entropy'])
    logs, scalars = list((tmp_path / 'two').rglob('*.log')), list((tmp_path / 'two').rglob('scalars.json'))
    assert len(logs) == len(scalars) == 1
    assert [json.loads(line)['step'] for line in scalars[0].read_text().splitlines()] == [1, 2, 3, 4]
    assert logs[0].read_text().count('(train) [1][4/4]') == 1


def test_a_model_in_shards_is_not_saved_whole(tmp_path, monkeypatch):
    """Sharding needs an accelerator, so another class stands in for its wrapper."""
    monkeypatch.setattr(checkpoint, 'FullyShardedDataParallel', nn.Linear)
    runner = tiny_runner(tmp_path, 1)
    with pytest.raises(UserError, match="CrashSafeCheckpointHook writes whole weights, but FSDP .*'CheckpointHook'"):
        runner.train()
    assert not runner.model.seen
