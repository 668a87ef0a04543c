"""Numbers that Rust and Python make alike, bit for bit, so that weights and inputs need not be committed.

Only integers and single IEEE operations in f32. The Rust side is host/tests/golden/values.rs.
"""
import numpy as np
import torch

f32 = np.float32


class Stream:
    """The 32-bit LCG s = s * 1664525 + 1013904223, started at 12345; u = (s >> 8) / 2^24 in [0, 1)."""

    def __init__(self, state=12345):
        self.state = np.uint32(state)

    def uniform(self, count):
        """The next `count` values of u."""
        powers = np.cumprod(np.full(count, 1664525, np.uint32), dtype=np.uint32)
        sums = np.cumsum(np.concatenate([[1], powers[:-1]]).astype(np.uint32), dtype=np.uint32)
        states = powers * self.state + sums * np.uint32(1013904223)
        self.state = states[-1]
        return (states >> 8).astype(f32) * f32(2**-24)

    def symmetric(self, count, scale):
        """(2u - 1) * scale."""
        return (f32(2) * self.uniform(count) - f32(1)) * f32(scale)


def fill(model, stream):
    """Parameters and running statistics of `model`, in the order of its state_dict: weights +-sqrt(6 / fan in),
    scales of batch norms 0.25 to 0.75, biases and shifts +-0.1, running means +-0.5, running variances 0.5 to 1.5.
    Signals neither vanish nor explode with these, in training and in evaluation."""
    state = {}
    for name, tensor in model.state_dict().items():
        count, kind = tensor.numel(), name.rsplit(".", 1)[-1]
        if kind == "weight" and tensor.dim() > 1:
            fan_in = f32(count // tensor.shape[0])
            values = stream.symmetric(count, np.sqrt(f32(6) / fan_in))
        elif kind == "weight":
            values = f32(0.25) + f32(0.5) * stream.uniform(count)
        elif kind == "bias":
            values = stream.symmetric(count, f32(0.1))
        elif kind == "running_mean":
            values = stream.symmetric(count, f32(0.5))
        elif kind == "running_var":
            values = f32(0.5) + stream.uniform(count)
        else:  # num_batches_tracked
            continue
        state[name] = torch.from_numpy(values.reshape(tensor.shape))
    model.load_state_dict(state, strict=False)


def batch(shape, count, classes, stream):
    """Images in [-1, 1) and labels (7i + 3) mod classes."""
    images = stream.symmetric(count * int(np.prod(shape)), 1).reshape(count, *shape)
    return torch.from_numpy(images), (torch.arange(count) * 7 + 3) % classes


PROJECTIONS = 64


def sketch(values):
    """64 projections on random signs, which bound a distance without the tensor itself: the length of the difference
    of two sketches is that of the tensors within 9 % (one standard deviation), and a single wrong value moves every
    projection. Bit j of SplitMix64's first output for seed i is the sign of value i in projection j. Tensors of at
    most 64 values are kept as they are."""
    values = np.asarray(values, np.float64).reshape(-1)
    if len(values) <= PROJECTIONS:
        return values
    with np.errstate(over="ignore"):
        z = np.arange(len(values), dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    bits = (z[:, None] >> np.arange(PROJECTIONS, dtype=np.uint64)) & np.uint64(1)
    signs = bits.astype(np.int8) * 2 - 1
    return np.array([values @ signs[:, j] for j in range(PROJECTIONS)]) / np.sqrt(PROJECTIONS)
