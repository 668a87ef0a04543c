#!/usr/bin/env python3
"""Makes the golden files in this folder from PyTorch in float64: tests/golden/make.py [layers|networks|steps|exchange]..."""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

import layers
import models
import steps
import values
from programs import smoothout

HERE = pathlib.Path(__file__).resolve().parent


def save(name, tensors, cases):
    """Writes `name`.safetensors with the cases, in JSON, as its metadata. Equal content gives equal bytes."""
    tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
    metadata = {"cases": json.dumps(cases), "made by": f"tests/golden/make.py with PyTorch {torch.__version__}"}
    path = HERE / f"{name}.safetensors"
    save_file(tensors, path, metadata)
    path.chmod(0o644)
    print(f"{name}: {len(cases)} cases, {path.stat().st_size} bytes")


def make_layers():
    """Everything in full: loss, logits, gradients and running statistics of every case."""
    tensors, cases = {}, []
    for name, shape, images, mode, description in layers.cases():
        model, stream = layers.Layers(shape, description), values.Stream()
        values.fill(model, stream)
        classes = model(torch.zeros(1, *shape)).shape[1]
        result = models.gradient(model, *values.batch(shape, images, classes, stream), mode)
        tensors |= {f"{name}/{key}": tensor for key, tensor in result.items()}
        flat = (shape + [1, 1])[:3]
        kinds = [{"kind": kind.removesuffix("1d"), **options} for kind, options in description]
        cases.append({"name": name, "input": flat, "batch": images, "mode": mode, "layers": kinds})
    save("layers", tensors, cases)


def clear_batch(name, images, mode):
    """A network, a batch and the stream's start for which no branch is decided by rounding."""
    _, make, shape, classes = models.NETWORKS[name]
    best = (0.0, 0)
    for start in range(12345, 12345 + 60):
        model, stream = make(), values.Stream(start)
        values.fill(model, stream)
        batch = values.batch(shape, images, classes, stream)
        best = max(best, (models.margin(model.train(mode == "train"), batch[0]), start))
    model, stream = make(), values.Stream(best[1])
    values.fill(model, stream)
    print(f"{name}.{mode}: margin {best[0]:.1e} with start {best[1]}")
    return model, values.batch(shape, images, classes, stream), best[1]


def make_networks():
    """Sketches of everything, with the norm of each tensor and the distance of PyTorch's own f32."""
    tensors, cases = {}, []
    for net, images in [("f1", 32), ("c1", 16), ("resnet44", 2)]:
        for mode in ["train", "eval"]:
            name, (model, batch, start) = f"{net}.{mode}", clear_batch(net, images, mode)
            exact = models.gradient(model, *batch, mode)
            single = models.gradient(model, *batch, mode, torch.float32)
            for key, tensor in exact.items():
                distance = (single[key].double() - tensor).norm()
                tensors[f"{name}/{key}"] = torch.from_numpy(values.sketch(tensor))
                tensors[f"{name}/pytorch/{key}"] = torch.stack([tensor.norm(), distance])
            cases.append({"name": name, "net": net, "batch": images, "mode": mode, "start": start})
    save("networks", tensors, cases)


def make_steps():
    """Weights, moments and running statistics after one step of the digits network."""
    tensors, cases = {}, []
    for name, case in steps.CASES.items():
        tensors |= {f"{name}/{key}": tensor for key, tensor in steps.step(smoothout(), case).items()}
        cases.append({"name": name, "seed": steps.SEED, "batch": steps.IMAGES, **case})
    save("steps", tensors, cases)


def make_exchange():
    """The state_dict of a digits network, as anybody would save it."""
    model = models.digits()
    values.fill(model, values.Stream())
    save_file(model.state_dict(), HERE / "state_dict.safetensors")
    print(f"state_dict: {len(model.state_dict())} tensors")


def main():
    wanted = sys.argv[1:] or ["layers", "networks", "steps", "exchange"]
    torch.manual_seed(0)
    for name in wanted:
        globals()[f"make_{name}"]()


if __name__ == "__main__":
    main()
