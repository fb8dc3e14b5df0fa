# As deeplabv3plus_mobilenetv2_voc_animals_head, without the decoder. No published figure.
# python tools/train.py configs/recipes/deeplabv3_mobilenetv2_voc_animals_head.py
# One device, batch 8, 200 iterations; time and score: docs/results.md.
_base_ = './deeplabv3plus_mobilenetv2_voc_animals_head.py'
head = dict(_delete_=True, type='DeepLabV3Head', separable_aspp=True, initial_weights='kaiming')
model = dict(decode_head=head)
