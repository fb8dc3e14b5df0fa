# COCO-Stuff 164k: DeepLab v2 with ResNet-101, 39.1 mIoU, 39.7 after the CRF (kazuto).
_base_ = [
    '_base_/models/deeplabv2_r101.py',
    '_base_/datasets/coco_stuff164k.py',
    '_base_/schedules/poly_100k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=(641, 641))),
    decode_head=dict(num_classes=_base_.num_classes),
)
