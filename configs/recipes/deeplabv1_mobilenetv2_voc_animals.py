# The head of DeepLab v1 (LargeFOV) at output stride 8 on MobileNetV2, else as v3plus beside it.
# No published figure.
# python tools/train.py configs/recipes/deeplabv1_mobilenetv2_voc_animals.py
# One device, batch 8, 500 iterations; time and score: docs/results.md.
_base_ = './deeplabv3plus_mobilenetv2_voc_animals.py'
model = dict(output_stride=8, decode_head=dict(_delete_=True, type='DeepLabV1Head', variant='LargeFOV'))
train_cfg = dict(max_iters=500, val_interval=250)
# No batch norm in the head: at ten times the rate of the backbone it diverges.
optim_wrapper = dict(
    optimizer=dict(lr=0.001),
    paramwise_cfg=dict(custom_keys={'decode_head': dict(lr_mult=2)}),
    clip_grad=dict(max_norm=10),
)
