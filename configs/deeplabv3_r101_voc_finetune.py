# v3, section 4.1, second phase (output stride 8, frozen batch norm, trainval): 85.7 mIoU on VOC 2012 test.
# python tools/train.py configs/deeplabv3_r101_voc_finetune.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3_r101.py',
    '_base_/datasets/voc12_trainval.py',
    '_base_/schedules/poly_30k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    output_stride=8,
    frozen_bn=('backbone', 'decode_head'),
)
load_from = 'work_dirs/deeplabv3_r101_voc/iter_30000.pth'
optim_wrapper = dict(optimizer=dict(lr=0.001))
