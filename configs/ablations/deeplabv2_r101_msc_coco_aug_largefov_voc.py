# v2, table of ResNet-101 components on VOC 2012 val: with LargeFOV, 75.54 mIoU.
# Starts from kazuto's deeplabv1_resnet101-coco.pth: tools/convert_checkpoint.py --from kazuto
# python tools/train.py configs/ablations/deeplabv2_r101_msc_coco_aug_largefov_voc.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = '../deeplabv2_r101_voc.py'
model = dict(
    backbone=dict(init_cfg=dict(checkpoint='pretrained/deeplabv1_resnet101-coco.pth', prefix='backbone')),
    decode_head=dict(rates=(12,)),
)
