# Baseline: U-Net with the data and the schedule of deeplabv3plus_mobilenetv2_demo. No DeepLab paper gives a figure.
# python tools/train.py configs/baselines/unet_demo.py
# One device, batch 8, 800 iterations; time and score are not measured here.
_base_ = [
    '../_base_/models/unet.py',
    '../_base_/datasets/demo.py',
    '../_base_/schedules/demo.py',
    '../_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
