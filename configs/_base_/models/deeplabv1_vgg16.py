# DeepLab v1, LargeFOV: VGG-16 at output stride 8, Caffe's input (BGR, 0 to 255, mean subtracted).
# Starts from the authors' ImageNet weights with reduced fc6 and fc7, vgg16_20M: tools/convert_checkpoint.py --from vgg
model = dict(
    type='DeepLab',
    output_stride=8,
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[104.008, 116.669, 122.675],
        std=[1, 1, 1],
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='DeepLabVGG',
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/vgg16_20M.pth', prefix='backbone'),
    ),
    decode_head=dict(
        type='DeepLabV1Head',
        variant='LargeFOV',
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/vgg16_20M.pth', prefix='decode_head'),
    ),
)
