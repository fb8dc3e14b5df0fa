# COCO-Stuff 164k: DeepLab v2 with ResNet-101, 39.1 mIoU, 39.7 after the CRF (kazuto).
# python tools/train.py configs/deeplabv2_r101_coco_stuff164k.py
# One device, batch 10, 100000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv2_r101.py',
    '_base_/datasets/coco_stuff164k.py',
    '_base_/schedules/poly_100k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(test_cfg=dict(size=(641, 641))),
)
