# TensorFlow release, model zoo: Xception-65 on ADE20K val, 45.65 mIoU at output stride 8 with scales and flips.
_base_ = [
    '_base_/models/deeplabv3plus_xception65.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/poly_150k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    decode_head=dict(num_classes=_base_.num_classes),
)
optim_wrapper = dict(optimizer=dict(weight_decay=4e-5))  # TensorFlow release, for Xception
