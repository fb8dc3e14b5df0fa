# The TensorFlow release's DeepLab v3 with MobileNetV2 (75.32 mIoU on VOC 2012 val) trained on for the animals alone.
# Its batch norm comes folded: convert with --calibrate; it stays frozen, at a small rate, as it is trained already.
# python tools/train.py configs/recipes/deeplabv3_mobilenetv2_voc_animals_finetuned.py
# One device, batch 8, 200 iterations; time and score: docs/results.md.
_base_ = [
    '../_base_/models/deeplabv3_mobilenetv2.py',
    '../_base_/datasets/voc12_animals.py',
    '../_base_/schedules/finetune.py',
    '../_base_/default_runtime.py',
    '../_base_/fast_cpu.py',
]
size = dict(num_classes=21, crop_size=_base_.crop_size)
head = dict(initial_weights='kaiming')  # of all short trainings; load_from has others
model = dict(size, backbone=dict(init_cfg=None), decode_head=head, frozen_bn=('backbone', 'decode_head'))
optim_wrapper = dict(_base_.fast, optimizer=dict(lr=5e-5, weight_decay=4e-5))
load_from = 'pretrained/deeplabv3_mnv2_voc.pth'
train_cfg = dict(max_iters=200, val_interval=100)
