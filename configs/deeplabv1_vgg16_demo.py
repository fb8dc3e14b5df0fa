# The demo: from scratch on generated images, therefore with batch norm in VGG. No published figure.
# python tools/train.py configs/deeplabv1_vgg16_demo.py
# One device, batch 4, 800 iterations, 7 minutes on two CPU cores; measured here: docs/results.md.
_base_ = [
    '_base_/models/deeplabv1_vgg16.py',
    '_base_/datasets/demo.py',
    '_base_/schedules/demo.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(std=[57.4, 57.1, 58.4]),
    backbone=dict(init_cfg=None, batch_norm=True),
    decode_head=dict(init_cfg=None),
)
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=0.01))  # its head has no batch norm
auto_scale_lr = dict(base_batch_size=4)
