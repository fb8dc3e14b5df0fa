# DeepLab v3+ with Aligned Xception-41, otherwise as with Xception-65.
_base_ = './deeplabv3plus_xception65.py'
model = dict(
    backbone=dict(
        depth=41,
        init_cfg=dict(
            checkpoint='https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/tf_xception_41-e6439c97.pth',
        ),
    ),
)
