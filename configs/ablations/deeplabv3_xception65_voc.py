# v3+, Table 5: Xception-65 without decoder, 79.17 mIoU on VOC 2012 val at output stride 16, 79.64 at 8.
# python tools/train.py configs/ablations/deeplabv3_xception65_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3plus_xception65_voc.py'
model = dict(decode_head=dict(_delete_=True, type='DeepLabV3Head', rates=(6, 12, 18)))
