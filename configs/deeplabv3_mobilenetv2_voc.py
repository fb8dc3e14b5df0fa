# TensorFlow release, model zoo: MobileNetV2 without ASPP branches or decoder, 75.32 mIoU on VOC 2012 val.
# Trained on COCO first; takes its converted weights: tools/convert_checkpoint.py --from tensorflow.
# python tools/train.py configs/deeplabv3_mobilenetv2_voc.py
# One device, batch 16, 30000 iterations; not timed here; the released weights' score: docs/results.md.
_base_ = [
    '_base_/models/deeplabv3_mobilenetv2.py',
    '_base_/datasets/voc12_aug.py',
    '_base_/schedules/poly_30k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
optim_wrapper = dict(optimizer=dict(weight_decay=4e-5))  # TensorFlow release, for MobileNet
