# v3+, Table 7: Xception-65 without decoder on Cityscapes val, 77.33 mIoU.
# python tools/train.py configs/ablations/deeplabv3_xception65_cityscapes.py
# One device, batch 16, 90000 iterations; time and score are not measured here.
_base_ = '../deeplabv3plus_xception65_cityscapes.py'
head = dict(type='DeepLabV3Head', rates=(6, 12, 18), separable_aspp=True)
model = dict(decode_head=dict(_delete_=True, **head))
