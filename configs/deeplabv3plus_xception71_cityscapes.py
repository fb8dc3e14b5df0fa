# v3+, Table 7: Xception-71 with decoder and without image pooling on Cityscapes val, 79.55 mIoU.
_base_ = [
    '_base_/models/deeplabv3plus_xception71.py',
    '_base_/datasets/cityscapes.py',
    '_base_/schedules/poly_90k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    decode_head=dict(pool_bins=(), num_classes=_base_.num_classes),
)
optim_wrapper = dict(optimizer=dict(weight_decay=4e-5))  # TensorFlow release, for Xception
