# Baseline: FCN-8s, narrow, with the data of the demo; from scratch, with batch norm in VGG. No figure is published.
# python tools/train.py configs/baselines/fcn8s_vgg16_demo.py
# One device, batch 4, 800 iterations; time and score are not measured here.
_base_ = [
    '../_base_/models/fcn8s_vgg16.py',
    '../_base_/datasets/demo.py',
    '../_base_/schedules/demo.py',
    '../_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(std=[57.4, 57.1, 58.4]),
    backbone=dict(init_cfg=None, batch_norm=True),
    decode_head=dict(init_cfg=None, channels=512),
)
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=0.01))  # its head has no batch norm
auto_scale_lr = dict(base_batch_size=4)
