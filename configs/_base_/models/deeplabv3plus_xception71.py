# DeepLab v3+ with Aligned Xception-71, otherwise as with Xception-65.
_base_ = './deeplabv3plus_xception65.py'
model = dict(
    backbone=dict(
        depth=71,
        init_cfg=dict(
            checkpoint='https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/tf_xception_71-8eec7df1.pth',
        ),
    ),
)
