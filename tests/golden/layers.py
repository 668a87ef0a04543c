"""One small network for each layer: what the layers are, and how PyTorch runs them.

A layer is (kind, options); `from` in its options is the index of the layer that feeds it (the one before, unless
given; -1 for the images). The same list in JSON goes into the golden file, from which the Rust test builds its own
network. A convolution or linear layer stands first, so that the layer under test also has to give the gradient of
its input; its outputs are the logits.
"""
import torch
from torch import nn


def conv(channels, kernel, stride=1, padding=0, groups=1, bias=False, **more):
    two = lambda x: [x, x] if isinstance(x, int) else x
    return "conv2d", dict(out_channels=channels, kernel=two(kernel), stride=two(stride), padding=two(padding),
                          groups=groups, bias=bias, **more)


def pool(kind, kernel, stride, padding=0):
    two = lambda x: [x, x] if isinstance(x, int) else x
    return kind, dict(kernel=two(kernel), stride=two(stride), padding=two(padding))


def linear(features, bias=True):
    return "linear", dict(out_features=features, bias=bias)


def norm(eps=1e-5, momentum=0.1, **more):
    return "batch_norm", dict(eps=eps, momentum=momentum, **more)


def add(other):
    return "add", dict(other=other)


RELU, FLATTEN, GLOBAL = ("relu", {}), ("flatten", {}), ("global_avg_pool", {})
DROPOUT = ("dropout", dict(probability=0.0))
FIRST = conv(4, 3, padding=1, bias=True)
IMAGE = [2, 7, 5]

# name: (shape of an image, images, modes, layers)
BOTH, TRAIN = ["train", "eval"], ["train"]
CASES = {
    "conv_plain": (IMAGE, 5, TRAIN, [conv(3, 3)]),
    "conv_pad_bias": (IMAGE, 5, TRAIN, [FIRST, conv(6, 3, padding=1, bias=True)]),
    "conv_one_image": (IMAGE, 1, TRAIN, [FIRST, conv(6, 3, padding=1)]),
    "conv_oblong_groups": (IMAGE, 17, TRAIN, [FIRST, conv(6, [3, 2], [2, 3], [1, 0], groups=2, bias=True)]),
    "conv_depthwise": (IMAGE, 16, TRAIN, [FIRST, conv(4, 3, stride=2, padding=2, groups=4)]),
    "conv_1x1_strided": (IMAGE, 6, TRAIN, [FIRST, conv(5, 1, stride=2)]),
    "conv_5x5": ([3, 8, 8], 3, TRAIN, [conv(6, 5, padding=2), conv(4, 5, padding=2, stride=2)]),
    "conv_7x7_strided": ([3, 14, 14], 3, TRAIN, [conv(4, 3, padding=1), conv(8, 7, stride=2, padding=3, bias=True)]),
    "conv_11x11_strided": ([3, 23, 23], 2, TRAIN, [conv(2, 3, padding=1), conv(8, 11, stride=4, padding=2)]),
    "conv_wide": ([3, 5, 4], 33, TRAIN, [conv(40, 3, padding=1), conv(20, 3, padding=1, bias=True), GLOBAL]),
    "linear_bias": ([7, 1, 1], 5, TRAIN, [linear(9), linear(11)]),
    "linear_no_bias": ([7, 1, 1], 19, TRAIN, [linear(9, bias=False), linear(3, bias=False)]),
    "linear_wide": ([150, 1, 1], 40, TRAIN, [linear(70), linear(33)]),
    "norm2d": (IMAGE, 5, BOTH, [FIRST, norm()]),
    "norm2d_on_images": (IMAGE, 18, BOTH, [norm()]),
    "norm2d_constants": (IMAGE, 5, BOTH, [FIRST, norm(eps=1e-3, momentum=0.25)]),
    "norm1d": ([6, 1, 1], 19, BOTH, [linear(13, bias=False), norm()]),
    "norm1d_behind_bias": ([6, 1, 1], 33, BOTH, [linear(13), norm()]),
    "relu": (IMAGE, 5, TRAIN, [FIRST, RELU]),
    "norm_relu": (IMAGE, 5, BOTH, [FIRST, norm(), RELU]),
    "max_pool": ([2, 8, 8], 5, TRAIN, [FIRST, pool("max_pool2d", 2, 2)]),
    "max_pool_overlap": ([2, 8, 8], 18, TRAIN, [FIRST, pool("max_pool2d", 3, 2)]),
    "max_pool_pad": (IMAGE, 5, TRAIN, [FIRST, pool("max_pool2d", 3, 2, 1)]),
    "max_pool_oblong": (IMAGE, 5, TRAIN, [FIRST, pool("max_pool2d", [2, 3], [1, 2], [1, 0])]),
    "avg_pool": ([2, 8, 8], 5, TRAIN, [FIRST, pool("avg_pool2d", 2, 2)]),
    "avg_pool_pad": (IMAGE, 18, TRAIN, [FIRST, pool("avg_pool2d", 3, 2, 1)]),
    "avg_pool_oblong": (IMAGE, 5, TRAIN, [FIRST, pool("avg_pool2d", [2, 3], [1, 2], [0, 1])]),
    "global_pool": (IMAGE, 18, TRAIN, [conv(12, 3, padding=1, bias=True), GLOBAL]),
    "add": (IMAGE, 5, TRAIN, [FIRST, conv(4, 3, padding=1), add(0)]),
    "add_of_images": (IMAGE, 5, TRAIN, [conv(2, 3, padding=1, bias=True), add(-1)]),
    "add_projection": ([2, 8, 8], 6, BOTH, [
        FIRST, conv(6, 3, stride=2, padding=1), norm(), RELU, conv(6, 3, padding=1), norm(),
        conv(6, 1, stride=2, **{"from": 0}), norm(), add(5), RELU, GLOBAL]),
    "dropout_0": ([6, 1, 1], 17, BOTH, [linear(13), DROPOUT]),
    "loss_many_classes": ([6, 1, 1], 9, TRAIN, [linear(300)]),
    "loss_confident": ([60, 1, 1], 20, TRAIN, [linear(400), linear(5)]),
}


# How PyTorch spells a layer; the lazy modules take their input's channels from the first pass.
MODULES = {
    "conv2d": lambda o: nn.LazyConv2d(o["out_channels"], o["kernel"], o["stride"], o["padding"], groups=o["groups"], bias=o["bias"]),
    "linear": lambda o: nn.LazyLinear(o["out_features"], o["bias"]),
    "batch_norm": lambda o: nn.LazyBatchNorm2d(o["eps"], o["momentum"]),
    "batch_norm1d": lambda o: nn.LazyBatchNorm1d(o["eps"], o["momentum"]),
    "relu": lambda o: nn.ReLU(),
    "max_pool2d": lambda o: nn.MaxPool2d(o["kernel"], o["stride"], o["padding"]),
    "avg_pool2d": lambda o: nn.AvgPool2d(o["kernel"], o["stride"], o["padding"]),
    "global_avg_pool": lambda o: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "dropout": lambda o: nn.Dropout(o["probability"]),
    "flatten": lambda o: nn.Flatten(),
    "add": lambda o: None,
}


class Layers(nn.Module):
    """The layers of a case, named l0, l1, ..."""

    def __init__(self, shape, layers):
        super().__init__()
        self.layers = layers
        for i, (kind, options) in enumerate(layers):
            self.add_module(f"l{i}", MODULES[kind](options))
        self.eval()(torch.zeros(1, *shape))

    def forward(self, x):
        outputs = {-1: x}
        for i, (kind, options) in enumerate(self.layers):
            x = outputs[options.get("from", i - 1)]
            outputs[i] = x + outputs[options["other"]] if kind == "add" else self.get_submodule(f"l{i}")(x)
        return outputs[len(self.layers) - 1]


def cases():
    """(name, shape of an image, images, mode, layers) of every case; what is not flat at its end is flattened."""
    for name, (shape, images, modes, layers) in CASES.items():
        flat = shape[1:] == [1, 1]
        if flat:
            shape = shape[:1]
            layers = [("batch_norm1d" if kind == "batch_norm" else kind, options) for kind, options in layers]
        elif layers[-1] != GLOBAL:
            layers = layers + [FLATTEN]
        for mode in modes:
            yield f"{name}.{mode}", shape, images, mode, layers
