"""The CRF layer's gradient against finite differences in float64, and its answer against DenseCRF."""

import copy
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest
import torch
from crf_helpers import make_image
from pretended_gpu import gpu
from torch.autograd import gradcheck

from mmseg_deeplab.crf import DenseCRF, DenseCRFLayer, autograd, lattice, mean_field, native

NORMALIZATIONS = ['symmetric', 'before', 'after', 'no']
KERNELS = dict(pos_xy_std=1.5, bi_xy_std=3, bi_rgb_std=40)
FORMS = ['number', 'vector', 'matrix']


def make_images(*sizes: tuple[int, int]) -> list[torch.Tensor]:
    return [torch.from_numpy(make_image(*size, seed=seed)) for seed, size in enumerate(sizes)]


def make_logits(classes: int, *sizes: tuple[int, int], dtype=torch.float32, scale=2.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [scale * torch.randn(classes, *size, generator=generator, dtype=torch.float64).to(dtype) for size in sizes]


def double_layer(classes: int, **arguments) -> DenseCRFLayer:
    """A layer with compatibilities of no symmetry."""
    layer = DenseCRFLayer(num_classes=classes, **{**KERNELS, **arguments}).double()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in layer.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return layer


def passes_gradcheck(layer: DenseCRFLayer, images, logits: list[torch.Tensor]) -> bool:
    """Analytic against numeric gradients of the refined logits for the logits and every compatibility."""
    names = [name for name, _ in layer.named_parameters()]
    values = [parameter.detach().clone().requires_grad_() for parameter in layer.parameters()]
    inputs = [scores.clone().requires_grad_() for scores in logits]

    def run(*tensors):
        state = dict(zip(names, tensors[len(inputs) :], strict=True))
        return tuple(torch.func.functional_call(layer, state, (images, list(tensors[: len(inputs)]))))

    return gradcheck(run, (*inputs, *values), eps=1e-6, atol=1e-6, rtol=1e-4, raise_exception=False)


# 6 x 7 pixels: the reference's fourth pixel of a block is missing, so that points exist that no pixel adds to.
@pytest.mark.parametrize('normalization', NORMALIZATIONS)
@pytest.mark.parametrize(('form', 'classes'), [('number', 2), ('number', 4), ('vector', 3), ('matrix', 3)])
def test_gradients_are_those_of_finite_differences(form, classes, normalization):
    weights = dict(pos_w=1.0, bi_w=1.5) if normalization != 'no' else dict(pos_w=0.05, bi_w=0.1)
    layer = double_layer(classes, iterations=2, compat=form, normalization=normalization, **weights)
    logits = make_logits(classes, (6, 7), dtype=torch.float64)
    assert passes_gradcheck(layer, make_images((6, 7)), logits)


@pytest.mark.parametrize('iterations', [0, 1, 2, 4, 5])
def test_gradients_of_any_number_of_iterations_and_with_checkpoints(iterations):
    layer = double_layer(2, iterations=iterations, compat='matrix', checkpoint=True)
    assert passes_gradcheck(layer, make_images((6, 7)), make_logits(2, (6, 7), dtype=torch.float64))


def test_gradients_of_a_batch_of_several_sizes():
    sizes = [(3, 5), (4, 4), (5, 3)]
    layer = double_layer(2, iterations=2, normalization='after')
    together, alone = [slice(0, 3)], [slice(i, i + 1) for i in range(3)]
    for parts in (together, alone):  # one lattice for all, as on a GPU, and one each
        with mock.patch.object(mean_field, 'batches', return_value=parts):
            assert passes_gradcheck(layer, make_images(*sizes), make_logits(2, *sizes, dtype=torch.float64))


@pytest.mark.parametrize('wrong', ['order of the blurs', 'factors'])
def test_gradcheck_notices_a_filter_that_is_not_transposed(wrong):
    """The blurs do not commute, and neither do the factors before and after them."""
    normalization = 'symmetric' if wrong == 'order of the blurs' else 'before'
    layer = double_layer(2, iterations=2, normalization=normalization)
    transposed = (
        (lambda self: self)
        if normalization == 'symmetric'
        else (lambda self: lattice.replace(self, blurs=self.blurs[::-1]))
    )
    with mock.patch.object(lattice.Lattice, 'transposed', transposed):
        assert not passes_gradcheck(layer, make_images((6, 7)), make_logits(2, (6, 7), dtype=torch.float64))


@pytest.mark.parametrize('normalization', NORMALIZATIONS)
def test_transposed_is_the_transposed_matrix(normalization):
    filters = mean_field.batch_filter(make_images((6, 7), (3, 5)), DenseCRF(**KERNELS).kernels[1], normalization)
    matrix = filters.to(torch.float64)(torch.eye(57, dtype=torch.float64))
    assert (matrix - matrix.t()).abs().max() > 0.01
    torch.testing.assert_close(filters.transposed()(torch.eye(57)), matrix.t().float())


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('normalization', ['symmetric', 'after'])
def test_answer_is_that_of_the_crf(form, normalization):
    sizes = [(30, 37), (21, 26)]
    images, logits = make_images(*sizes), make_logits(5, *sizes, scale=3)
    layer = DenseCRFLayer(iterations=5, compat=form, num_classes=5, normalization=normalization)
    crf = DenseCRF(iterations=5, input='logits', normalization=normalization, mode='all', backend='torch')
    for refined, expected in zip(layer(images, logits), crf(images, logits), strict=True):
        torch.testing.assert_close(refined.softmax(0), expected, atol=2e-5, rtol=0)
    batch = torch.stack(images[:1] * 2), torch.stack(logits[:1] * 2)
    torch.testing.assert_close(layer(*batch)[1].softmax(0), crf(images[0], logits[0]), atol=2e-5, rtol=0)


@pytest.mark.parametrize('checkpoint', [False, True])
def test_float32_gradient_is_near_that_of_float64(checkpoint):
    images, logits = make_images((40, 51)), make_logits(6, (40, 51), scale=3)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        layer = DenseCRFLayer(iterations=5, bi_xy_std=30, bi_rgb_std=10, checkpoint=checkpoint).to(dtype)
        scores = logits[0].detach().to(dtype, copy=True).requires_grad_()
        layer(images, [scores])[0].log_softmax(0)[2].mean().backward()
        gradients.append([scores.grad, layer.pos_w.grad, layer.bi_w.grad])
    for single, double in zip(*gradients, strict=True):
        assert (single - double).abs().max() < 1e-4 * double.abs().max()


needs_kernel = pytest.mark.skipif(not native.is_available(), reason='the kernel was not built')


def gradients(layer: DenseCRFLayer, images, logits: list[torch.Tensor]) -> list[torch.Tensor]:
    """Of a loss that weighs every class and pixel differently, for the logits and the compatibilities."""
    scores = [each.clone().requires_grad_() for each in logits]
    refined = layer(images, scores)
    generator = torch.Generator().manual_seed(9)
    shares = [torch.randn(each.shape, generator=generator, dtype=torch.float64).to(each.dtype) for each in logits]
    loss = sum((each.log_softmax(0) * share).mean() for each, share in zip(refined, shares, strict=True))
    return list(torch.autograd.grad(loss, [*scores, *layer.parameters()]))


# 9 x 11 pixels: the last block of 16 and the reference's last of 4 are not full; rows of 8 to 40 channels.
@needs_kernel
@pytest.mark.parametrize('normalization', NORMALIZATIONS)
@pytest.mark.parametrize(
    ('form', 'classes'), [('number', 21), ('number', 40), ('vector', 2), ('vector', 30), ('matrix', 8), ('matrix', 17)]
)
@pytest.mark.parametrize('checkpoint', [False, True])
def test_native_gradient_is_that_of_float64(form, classes, normalization, checkpoint):
    sizes = [(9, 11), (40, 51), (16, 16), (1, 7)]
    weights = dict(pos_w=1.0, bi_w=1.5) if normalization != 'no' else dict(pos_w=0.05, bi_w=0.1)
    layer = double_layer(
        classes, iterations=3, compat=form, normalization=normalization, checkpoint=checkpoint, **weights
    )
    images, logits = make_images(*sizes), make_logits(classes, *sizes, dtype=torch.float64)
    expected = gradients(layer, images, logits)
    with mock.patch.object(mean_field, 'batch_filter', side_effect=AssertionError):
        found = gradients(layer.float(), images, [each.float() for each in logits])
    assert len(found) == 6
    for single, double in zip(found, expected, strict=True):
        assert (single - double).abs().max() < 1e-4 * double.abs().max()


@needs_kernel
@pytest.mark.parametrize('kernel', [0, 1])
@pytest.mark.parametrize('normalization', NORMALIZATIONS)
def test_native_filter_and_its_transpose_are_the_matrix(kernel, normalization):
    """Column by column against the torch lattice; on positions, too, whose transposed blurs run in one pipeline."""
    for image in make_images((6, 7), (23, 19)):
        pixels = image.shape[0] * image.shape[1]
        matrix = mean_field.batch_filter([image], DenseCRF(**KERNELS).kernels[kernel], normalization)(torch.eye(pixels))
        rows = torch.zeros(-(-pixels // 16) * 16, -(-pixels // 8) * 8)
        rows[:pixels, :pixels] = torch.eye(pixels)
        rows[pixels:] = 1e3  # no pixels: not seen
        filters = autograd._NativeFilter(
            native.Filter(image.numpy(), DenseCRF(**KERNELS).kernels[kernel], normalization)
        )
        for found, expected in ((filters(rows), matrix), (filters.transposed()(rows), matrix.t())):
            torch.testing.assert_close(found[:pixels, :pixels], expected, atol=1e-5, rtol=1e-4)
            assert not found[pixels:].any()
        assert torch.equal(filters.transposed().transposed()(rows), filters(rows))


@needs_kernel
def test_native_gradients_in_threads_are_those_of_one():
    images, logits = make_images((40, 51), (33, 29), (61, 47)), make_logits(5, (40, 51), (33, 29), (61, 47))
    layer = DenseCRFLayer(iterations=3)
    expected = [gradients(layer, [image], [scores]) for image, scores in zip(images, logits, strict=True)]
    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(gradients, layer, [images[i % 3]], [logits[i % 3]]) for i in range(24)]
        for i, job in enumerate(jobs):
            for found, alone in zip(job.result(), expected[i % 3], strict=True):
                assert torch.equal(found, alone)


@needs_kernel
def test_a_picture_of_too_many_cells_is_refused():
    image = torch.rand(4, 5, 9, generator=torch.Generator().manual_seed(0)) * 1000
    layer = DenseCRFLayer(bi_rgb_std=1e-5)
    with pytest.raises(ValueError, match='standard deviations'):
        layer([image], make_logits(3, (4, 5)))


def test_keeps_a_state_an_iteration_and_half_of_them_with_checkpoints():
    kept: list[tuple[int, ...]] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    counts = []
    for checkpoint in (False, True):
        kept.clear()
        layer = DenseCRFLayer(iterations=6, checkpoint=checkpoint)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            layer(make_images((9, 11)), [make_logits(3, (9, 11))[0].requires_grad_()])
        counts.append(kept.count((99, 3)) + kept.count((112, 8)))  # filled up for the native kernel
    assert counts[0] - counts[1] == 3 and counts[0] <= 6 + 3  # beside log p, and what its own softmax and clip keep


def test_without_gradients_nothing_is_kept():
    layer = DenseCRFLayer(iterations=3)
    with torch.no_grad():
        assert not layer(make_images((9, 11)), make_logits(3, (9, 11)))[0].requires_grad


def test_a_zero_weight_can_be_learned_and_is_left_out_otherwise():
    images, logits = make_images((20, 21)), make_logits(3, (20, 21))
    layer = DenseCRFLayer(iterations=2, pos_w=0)
    layer(images, logits)[0].log_softmax(0)[0].mean().backward()
    assert layer.pos_w.grad != 0
    fixed = DenseCRFLayer(iterations=2, pos_w=0, learn=False)
    assert not any(parameter.requires_grad for parameter in fixed.parameters())
    expected = layer(images, logits)[0]
    with mock.patch.object(mean_field, '_gaussian', side_effect=AssertionError):
        torch.testing.assert_close(fixed(images, logits)[0], expected)


def test_training_moves_the_weights_and_lowers_the_loss():
    """A network of one 1x1 convolution below the CRF, on a picture whose colours give its two halves away."""
    image = np.full((24, 32, 3), 60, np.uint8)
    image[:, 16:] = 180
    noisy = torch.from_numpy(image / 255 + np.random.default_rng(0).normal(0, 1, image.shape)).float()
    truth = (torch.from_numpy(image[..., 0]) > 100).long()[None]
    torch.manual_seed(0)
    net, layer = torch.nn.Conv2d(3, 2, 1), DenseCRFLayer(iterations=3, pos_w=0.1, bi_w=0.1)
    optimizer = torch.optim.Adam([*net.parameters(), *layer.parameters()], 0.1)
    losses = []
    for _ in range(40):
        refined = layer(torch.from_numpy(image)[None], net(noisy.permute(2, 0, 1)[None]))
        loss = torch.nn.functional.cross_entropy(refined, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert layer.bi_w > 0.5


def test_state_is_two_tensors_and_survives_copies():
    layer = DenseCRFLayer(compat='vector', num_classes=4)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {'pos_w': (4,), 'bi_w': (4,)}
    assert torch.equal(copy.deepcopy(layer).bi_w, layer.bi_w)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_mixed_precision_is_computed_in_single(dtype):
    images, logits = make_images((20, 21)), make_logits(3, (20, 21), dtype=dtype)
    layer = DenseCRFLayer(iterations=3, compat='matrix', num_classes=3)
    with torch.autocast('cpu', torch.bfloat16):
        refined = layer(images, logits)[0]
    assert refined.dtype == torch.float32
    torch.testing.assert_close(refined, layer(images, [logits[0].float()])[0])


def test_gpu_gives_the_gradient_of_the_cpu():
    images, logits = make_images((20, 31), (17, 23)), make_logits(4, (20, 31), (17, 23))
    layer = DenseCRFLayer(iterations=3)
    gradients = []
    for device in ('cpu', 'cuda'):
        with gpu():
            moved = layer.to(device)
            scores = [each.to(device).requires_grad_() for each in logits]
            total = sum(refined.log_softmax(0)[0].sum() for refined in moved(images, scores))
            found = torch.autograd.grad(total, [*scores, *moved.parameters()])
            gradients.append([each.cpu().as_subclass(torch.Tensor) for each in found])
            layer = moved.to('cpu')
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(compat='tensor'), "compat='tensor': expected one of 'number', 'vector', 'matrix'"),
        (dict(compat='matrix'), "compat='matrix' needs num_classes"),
        (dict(compat='vector', num_classes=2, pos_w=np.eye(2)), "pos_w is a matrix: with compat='vector'"),
        (dict(pos_w=[1, 2], num_classes=3), r'pos_w has shape \(2,\), but there are 3 classes'),
        (dict(iterations=-1), 'iterations=-1'),
        (dict(normalization='both'), "normalization='both'"),
        (dict(clip=2), 'clip=2'),
        (dict(bi_rgb_std=0), 'bi_rgb_std=0'),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DenseCRFLayer(**arguments)


@pytest.mark.parametrize(
    ('images', 'logits', 'message'),
    [
        (make_images((5, 6)), make_logits(3, (5, 6), (5, 6)), '1 images, but logits of 2'),
        ([], [], '0 images'),
        (make_images((5, 6)), make_logits(3, (6, 5)), r'image 0 is 5x6 .* \(3, 6, 5\): expected floats'),
        (make_images((5, 6)), [make_logits(3, (5, 6))[0].int()], 'torch.int32'),
        ([make_images((5, 6))[0].int()], make_logits(3, (5, 6)), 'image 0 has type torch.int32: expected uint8'),
        (make_images((5, 6)), make_logits(4, (5, 6)), r'pos_w has shape \(3,\), but there are 4 classes'),
        (torch.zeros(1, 6, 7, 3, dtype=torch.uint8), torch.zeros(1, 1, 6, 7), r'one channel.*\(0, logits\)'),
    ],
)
def test_refuses_inputs(images, logits, message):
    with pytest.raises(ValueError, match=message):
        DenseCRFLayer(compat='vector', num_classes=3)(images, logits)
    assert autograd.COMPATIBILITIES == ('number', 'vector', 'matrix')
