# The head of DeepLab v1 (LargeFOV) at output stride 8 on MobileNetV2, else as v3plus beside it.
# No published figure.
# python tools/train.py configs/recipes/deeplabv1_mobilenetv2_voc_animals.py
# One device, batch 8, 500 iterations; time and score: docs/results.md.
_base_ = './deeplabv2_mobilenetv2_voc_animals.py'
model = dict(decode_head=dict(_delete_=True, type='DeepLabV1Head', variant='LargeFOV'))
