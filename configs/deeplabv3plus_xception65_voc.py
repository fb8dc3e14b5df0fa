# v3+, Table 5: Xception-65 with decoder, separable ASPP and decoder, on VOC 2012 val: 79.79 mIoU at output stride 16,
# 80.02 at 8.
_base_ = [
    '_base_/models/deeplabv3plus_xception65.py',
    '_base_/datasets/voc12_aug.py',
    '_base_/schedules/poly_30k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    decode_head=dict(num_classes=_base_.num_classes),
)
optim_wrapper = dict(optimizer=dict(weight_decay=4e-5))  # TensorFlow release, for Xception
