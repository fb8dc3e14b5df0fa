# v1, Tables 1 and 2: fc6 of 4x4 on VOC 2012 val, 59.80 mIoU, 63.74 after the CRF.
# Starts from VGG-16: tools/convert_checkpoint.py VGG16 pretrained/vgg16_4x4.pth --from vgg --variant 4x4
# python tools/train.py configs/deeplabv1_vgg16_4x4_voc.py
# One device, batch 20, 6000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv1_vgg16.py',
    '_base_/datasets/voc12_aug_v1.py',
    '_base_/schedules/step_6k.py',
    '_base_/default_runtime.py',
]
start = 'pretrained/vgg16_4x4.pth'
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(test_cfg=dict(size=(513, 513))),
    backbone=dict(init_cfg=dict(checkpoint=start)),
    decode_head=dict(variant='4x4', init_cfg=dict(checkpoint=start)),
)
train_dataloader = dict(batch_size=20)
auto_scale_lr = dict(base_batch_size=20)
