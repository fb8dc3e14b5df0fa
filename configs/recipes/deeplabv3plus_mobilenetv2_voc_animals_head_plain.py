# As deeplabv3plus_mobilenetv2_voc_animals_head with plain convolutions in place of separable ones. No published figure.
# python tools/train.py configs/recipes/deeplabv3plus_mobilenetv2_voc_animals_head_plain.py
# One device, batch 8, 200 iterations; time and score: docs/records.md.
_base_ = './deeplabv3plus_mobilenetv2_voc_animals_head.py'
model = dict(decode_head=dict(separable_aspp=False, separable_decoder=False))
