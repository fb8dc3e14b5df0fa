# Baseline: K-Net with the data and the schedule of deeplabv3plus_r50_voc. No DeepLab paper gives a figure.
# python tools/train.py configs/baselines/knet_r50_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = [
    '../_base_/models/knet_r50.py',
    '../_base_/datasets/voc12_aug.py',
    '../_base_/schedules/poly_30k.py',
    '../_base_/default_runtime.py',
]
updates = [dict(**_base_.kernel_update, num_classes=_base_.num_classes)] * 3
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    decode_head=dict(kernel_generate_head=dict(num_classes=_base_.num_classes), kernel_update_head=updates),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
optimizer = dict(type='AdamW', lr=1e-4, weight_decay=5e-4)
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=optimizer, clip_grad=dict(max_norm=1))
