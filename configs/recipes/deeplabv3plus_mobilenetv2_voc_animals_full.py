# Progressive resizing, second part: deeplabv3plus_mobilenetv2_voc_animals_half goes on at full size.
# No published figure.
# python tools/train.py configs/recipes/deeplabv3plus_mobilenetv2_voc_animals_full.py
# One device, batch 8, 200 iterations; time and score: docs/records.md.
_base_ = './deeplabv3plus_mobilenetv2_voc_animals_600.py'
load_from = 'work_dirs/deeplabv3plus_mobilenetv2_voc_animals_half/iter_400.pth'
train_cfg = dict(max_iters=200, val_interval=100)
