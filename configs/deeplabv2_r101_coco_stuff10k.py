# COCO-Stuff 10k: DeepLab v2 with ResNet-101, 34.4 mIoU (its authors); 34.8, 35.6 after the CRF (kazuto).
_base_ = [
    '_base_/models/deeplabv2_r101.py',
    '_base_/datasets/coco_stuff10k.py',
    '_base_/schedules/poly_20k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=(641, 641))),
    decode_head=dict(num_classes=_base_.num_classes),
)
