# As deeplabv3plus_mobilenetv2_tf, for short trainings: running averages over 100 batches, Kaiming's initial weights.
_base_ = './deeplabv3plus_mobilenetv2_tf.py'
model = dict(
    norm_cfg=dict(momentum=0.01),
    backbone=dict(norm_cfg=dict(momentum=0.01)),
    decode_head=dict(initial_weights='kaiming'),
)
