# v2, table of VGG-16 heads on VOC 2012 val: ASPP-L, 68.96 mIoU, 71.57 after the CRF; 72.6 on test.
_base_ = [
    '_base_/models/deeplabv2_vgg16.py',
    '_base_/datasets/voc12_aug_v1.py',
    '_base_/schedules/poly_20k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=(513, 513))),
    decode_head=dict(num_classes=_base_.num_classes),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_dataloader = dict(batch_size=10)
