# FCN-8s: VGG-16 with its own pools and fc6 of 7x7, scores of fc7, pool4 and pool3 (Long et al., CVPR 2015).
# Starts from VGG-16's ImageNet weights: tools/convert_checkpoint.py --from vgg --variant 7x7
model = dict(
    type='DeepLab',
    output_stride=32,
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[104.008, 116.669, 122.675],
        std=[1, 1, 1],
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='DeepLabVGG',
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/vgg16.pth', prefix='backbone'),
    ),
    decode_head=dict(
        type='FCNSkipHead',
        prediction_stride=8,
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/vgg16.pth', prefix='decode_head'),
    ),
)
