# Baseline: FCN-16s with the data and schedule of deeplabv2_vgg16_voc. No DeepLab paper gives a figure; docs/configs.md.
# python tools/train.py configs/baselines/fcn16s_vgg16_voc.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = './fcn8s_vgg16_voc.py'
model = dict(decode_head=dict(prediction_stride=16))
