# The demo with a CRF that is trained with the network, from scratch. No published figure.
# python tools/train.py configs/deeplabv3plus_mobilenetv2_crf_demo.py
# One device, batch 8, 800 iterations; time and score are not measured here.
_base_ = './deeplabv3plus_mobilenetv2_demo.py'
model = dict(crf=dict(iterations=3, learn=True, pos_w=1, bi_w=1, bi_xy_std=20, bi_rgb_std=10))
