# The demo: from scratch on generated images, therefore with batch norm in VGG. No published figure.
_base_ = [
    '_base_/models/deeplabv1_vgg16.py',
    '_base_/datasets/demo.py',
    '_base_/schedules/demo.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(std=[57.4, 57.1, 58.4], size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    backbone=dict(init_cfg=None, batch_norm=True),
    decode_head=dict(num_classes=_base_.num_classes, init_cfg=None),
)
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=0.01))  # its head has no batch norm
auto_scale_lr = dict(base_batch_size=4)
