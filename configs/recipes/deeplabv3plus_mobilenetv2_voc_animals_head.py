# Head first: as deeplabv3plus_mobilenetv2_voc_animals_600 with the backbone frozen. No published figure.
# python tools/train.py configs/recipes/deeplabv3plus_mobilenetv2_voc_animals_head.py
# One device, batch 8, 200 iterations; time and score: docs/records.md. Then deeplabv3plus_mobilenetv2_voc_animals_all.
_base_ = './deeplabv3plus_mobilenetv2_voc_animals_600.py'
model = dict(frozen=('backbone',))
train_cfg = dict(max_iters=200, val_interval=200)
