# As deeplabv3plus_mobilenetv2_voc_animals, for a record (docs/records.md): 600 iterations. No published figure.
# python tools/train.py configs/recipes/deeplabv3plus_mobilenetv2_voc_animals_600.py
# One device, batch 8, 600 iterations; time and score: docs/records.md.
_base_ = './deeplabv3plus_mobilenetv2_voc_animals.py'
model = dict(norm_cfg=dict(momentum=0.05), backbone=dict(norm_cfg=dict(momentum=0.05)))
train_cfg = dict(max_iters=600, val_interval=200)
