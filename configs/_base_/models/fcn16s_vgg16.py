_base_ = './fcn8s_vgg16.py'
model = dict(decode_head=dict(prediction_stride=16))
