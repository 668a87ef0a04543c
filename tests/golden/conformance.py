#!/usr/bin/env python3
"""Golden values of core's conformance suite, from PyTorch in float64.

Makes core/src/conformance/golden.rs, or with --check tells whether it is what would be made:
    python3 tests/golden/conformance.py [--check]
The suite's networks, weights and images are written down a second time here, from the words of its pages alone.
"""

import sys
from pathlib import Path

import numpy
import torch
from torch.nn import functional as F

TARGET = Path(__file__).parents[2] / "core/src/conformance/golden.rs"
BATCH = 3
f32 = numpy.float32


def uniform(seed):
    """Numbers in [0, 1) by Numerical Recipes' generator, exact in f32."""
    state = seed * 12345 % 2**32
    while True:
        state = (state * 1664525 + 1013904223) % 2**32
        yield f32(state >> 8) / f32(2**24)


class Layer:
    """A layer that makes its parameters from the stream and computes."""

    def __init__(self, run, shapes=(), norm=False, statistics=0):
        self.run, self.shapes, self.norm, self.statistics = run, shapes, norm, statistics

    def begin(self, stream):
        self.parameters = []
        for i, shape in enumerate(self.shapes):
            row_len = int(numpy.prod(shape[1:]))
            scale = numpy.sqrt(f32(6) / f32(row_len))
            values = []
            for _ in range(int(numpy.prod(shape))):
                u = f32(2) * next(stream) - f32(1)
                if self.norm and i == 0:
                    values.append(f32(1) + f32(0.5) * u)
                elif self.norm or i == 1:
                    values.append(f32(0.2) * u)
                else:
                    values.append(u * scale)
            values = torch.tensor(numpy.array(values), dtype=torch.float64).reshape(shape)
            self.parameters.append(values.requires_grad_())


def conv(inputs, outputs, kernel, stride=1, padding=0, groups=1, bias=False):
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    shapes = [(outputs, inputs // groups, *kernel)] + ([(outputs,)] if bias else [])
    return Layer(
        lambda x, p, *_: F.conv2d(x, p[0], p[1] if bias else None, stride, padding, groups=groups), shapes
    )


def linear(inputs, outputs, bias=True):
    shapes = [(outputs, inputs)] + ([(outputs,)] if bias else [])
    return Layer(lambda x, p, *_: F.linear(x, p[0], p[1] if bias else None), shapes)


def norm(channels):
    def run(x, p, training, running, _):
        mean, variance = running
        mean, variance = mean.clone(), variance.clone()
        return F.batch_norm(x, mean, variance, p[0], p[1], training, 0.1, float(f32(1e-5)))

    return Layer(run, [(channels,), (channels,)], norm=True, statistics=channels)


def plain(function):
    return Layer(lambda x, *_: function(x))


FLAT, RELU = plain(lambda x: x.flatten(1)), plain(torch.relu)
POOL = plain(lambda x: F.max_pool2d(x, 2))


def add(index):
    return Layer(lambda x, p, training, running, outputs: x + outputs[index])


def mask_free(_):
    """Dropout: masks are core's own, so that only its evaluation has a golden value."""
    return Layer(lambda x, *_: x)


def first():
    return conv(2, 3, 3, padding=1, bias=True)


IMAGE = (2, 5, 4)
CASES = [
    ("linear", IMAGE, lambda: [FLAT, linear(40, 3)]),
    ("linear without bias", IMAGE, lambda: [FLAT, linear(40, 3, bias=False)]),
    ("linear into linear", IMAGE, lambda: [FLAT, linear(40, 2), linear(2, 5)]),
    ("convolution", IMAGE, lambda: [first(), FLAT]),
    ("convolution into convolution", IMAGE, lambda: [first(), conv(3, 2, 2), FLAT]),
    ("strided convolution", IMAGE, lambda: [first(), conv(3, 2, 3, stride=2, padding=2), FLAT]),
    ("1x1 convolution", IMAGE, lambda: [first(), conv(3, 4, 1), FLAT]),
    ("grouped convolution", IMAGE, lambda: [first(), conv(3, 3, 3, padding=1, groups=3), FLAT]),
    ("oblong convolution", IMAGE,
     lambda: [first(), conv(3, 2, (3, 2), stride=(2, 3), padding=(1, 0), bias=True), FLAT]),
    ("batch norm", IMAGE, lambda: [first(), norm(3), FLAT]),
    ("batch norm of images", IMAGE, lambda: [norm(2), FLAT]),
    ("ReLU", IMAGE, lambda: [first(), RELU, FLAT]),
    ("max pooling", IMAGE, lambda: [first(), POOL, FLAT]),
    ("overlapping max pooling", IMAGE, lambda: [first(), plain(lambda x: F.max_pool2d(x, 3, 2, 1)), FLAT]),
    ("average pooling", IMAGE, lambda: [first(), plain(lambda x: F.avg_pool2d(x, 3, 2, 1)), FLAT]),
    ("global average pooling", IMAGE, lambda: [first(), plain(lambda x: x.mean((2, 3)))]),
    ("dropout", IMAGE, lambda: [first(), mask_free(0.4), FLAT]),
    ("sum", IMAGE, lambda: [first(), RELU, conv(3, 3, 1), add(0), FLAT]),
    ("perceptron", (12, 1, 1),
     lambda: [FLAT, linear(12, 8), RELU, linear(8, 6), RELU, linear(6, 4)]),
    ("convolutional network", IMAGE,
     lambda: [first(), RELU, POOL, conv(3, 4, 3, padding=1, bias=True), RELU, POOL, FLAT, linear(4, 4)]),
    ("convolutional network with batch norm", IMAGE,
     lambda: [conv(2, 4, 3, padding=1), norm(4), RELU, POOL, FLAT, linear(16, 4)]),
    ("residual network", IMAGE,
     lambda: [first(), norm(3), RELU, conv(3, 3, 3, padding=1), norm(3), add(2), RELU,
              plain(lambda x: x.mean((2, 3))), linear(3, 4)]),
]


def images(seed, shape):
    stream = uniform(seed)
    values = numpy.array([next(stream) for _ in range(BATCH * int(numpy.prod(shape)))])
    return torch.tensor(values, dtype=torch.float64).reshape(BATCH, *shape)


def loss(layers, running, x, training):
    outputs, norms = [], iter(running)
    for layer in layers:
        own = next(norms) if layer.statistics else None
        x = layer.run(x, layer.parameters, training, own, outputs)
        outputs.append(x)
    labels = torch.arange(BATCH) % x.shape[1]
    return F.cross_entropy(x, labels)


def golden(name, shape, make):
    layers = make()
    stream = uniform(1)
    for layer in layers:
        layer.begin(stream)
    draw = lambda count: torch.tensor([float(f32(0.5) + next(stream)) for _ in range(count)], dtype=torch.float64)
    running = [(draw(l.statistics), draw(l.statistics)) for l in layers if l.statistics]
    evaluation = loss(layers, running, images(1, shape), False).item()
    step = loss(layers, running, images(2, shape), True)
    step.backward()
    gradient = torch.cat([p.grad.flatten() for layer in layers for p in layer.parameters])
    product = (gradient * torch.arange(1, len(gradient) + 1)).sum().item()
    training = f"Some([{step.item()!r}, {gradient.norm().item()!r}, {product!r}])"
    if name == "dropout":
        training = "None"
    return f'    Golden {{ case: "{name}", evaluation: {evaluation!r}, training: {training} }},\n'


def text():
    lines = "".join(golden(*case) for case in CASES)
    return f"""//! Golden values of the suite's single layers and networks, from PyTorch in float64: made by tests/golden/conformance.py.
#![cfg_attr(rustfmt, rustfmt_skip)]

/// What a case gives.
pub(super) struct Golden {{
    pub case: &'static str,
    /// Loss at the first weights, in evaluation mode.
    pub evaluation: f64,
    /// Loss of the first step, the norm of its gradient g, and 1 g1 + 2 g2 + 3 g3 + …; none where masks are core's own.
    pub training: Option<[f64; 3]>,
}}

#[expect(clippy::unreadable_literal, reason = "the digits of the source")]
pub(super) const GOLDEN: &[Golden] = &[
{lines}];
"""


made = text()
if "--check" in sys.argv[1:]:
    sys.exit(0 if TARGET.read_text() == made else f"{TARGET} is not what would be made")
TARGET.write_text(made)
