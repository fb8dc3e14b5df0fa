# FCN-8s: VGG-16 with its own pools and fc6 of 7x7, scores of fc7, pool4 and pool3 (Long et al., CVPR 2015).
# Starts from VGG-16's ImageNet weights: tools/convert_checkpoint.py --from vgg --variant 7x7
_base_ = './deeplabv1_vgg16.py'
model = dict(
    output_stride=32,
    backbone=dict(init_cfg=dict(checkpoint='pretrained/vgg16.pth')),
    decode_head=dict(
        _delete_=True,
        type='FCNSkipHead',
        prediction_stride=8,
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/vgg16.pth', prefix='decode_head'),
    ),
)
