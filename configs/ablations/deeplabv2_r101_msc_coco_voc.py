# v2, table of ResNet-101 components on VOC 2012 val: MSC and COCO, 73.28 mIoU.
# Starts from kazuto's deeplabv1_resnet101-coco.pth: tools/convert_checkpoint.py --from kazuto
# python tools/train.py configs/ablations/deeplabv2_r101_msc_coco_voc.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = '../deeplabv2_r101_voc.py'
model = dict(
    backbone=dict(init_cfg=dict(checkpoint='pretrained/deeplabv1_resnet101-coco.pth', prefix='backbone')),
    decode_head=dict(rates=()),
)
train_pipeline = [step for step in _base_.train_pipeline if step['type'] != 'RandomScale']
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
