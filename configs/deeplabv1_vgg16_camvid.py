# No figure published by the authors of v1 on CamVid.
# python tools/train.py configs/deeplabv1_vgg16_camvid.py
# One device, batch 8, 6000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv1_vgg16.py',
    '_base_/datasets/camvid.py',
    '_base_/schedules/step_6k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
auto_scale_lr = dict(base_batch_size=8)
