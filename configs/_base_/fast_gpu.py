# Faster steps on a GPU of NVIDIA's Ampere generation or later: bfloat16, channels-last, one kernel for all of SGD,
# compiled network (the first step takes minutes). Built in the tests, not measured. Take it so:
#   _base_ = ['CONFIG.py', '_base_/fast_gpu.py']
#   optim_wrapper = _base_.fast
fast = dict(type='AmpOptimWrapper', dtype='bfloat16', optimizer=dict(fused=True))
custom_hooks = [dict(type='ChannelsLastHook')]
compile = dict(mode='default')
