"""Holds the measuring commands against PyTorch and SciPy, live, on a trained f1 and images of MNIST.

    venv/bin/pip install torch numpy scipy safetensors
    venv/bin/python tests/golden/measure.py --checkpoint runs/f1/best.safetensors --data data/mnist [--images 1000]

- sharpness: SciPy's L-BFGS-B driven by PyTorch's gradients, 10 iterations from the same five starts, within 1 %;
  and the authors' wrong sign, from the weights, with SciPy's own tolerances; also on more networks (--others).
- interpolation, sensitivity and landscape: loss at ten points each, within 1e-4 relative, and accuracy, within one image.
- hessian: the largest eigenvalues against those from PyTorch, which differentiates twice, within 1e-3; for information
  also from central differences with several steps (--steps-too), which are right by luck alone.

Prints what it compared and fails where a bound is broken. PyTorch works in float64; the program in float32.
"""

import argparse
import csv
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy
import torch
from safetensors.torch import load_file
from scipy.optimize import fmin_l_bfgs_b
from scipy.sparse.linalg import LinearOperator, eigsh

import models

failures = 0


def compare(what, ours, theirs, bound):
    global failures
    off = abs(ours - theirs) / max(abs(theirs), 1e-12)
    verdict = "ok" if off <= bound else "FAIL"
    failures += verdict == "FAIL"
    print(f"{what:<34} program {ours:>14.8f}   reference {theirs:>14.8f}   off {off:.1e} of at most {bound:.0e}  {verdict}")


def shortened(source, target, images):
    """A folder of MNIST's format with the first images of each file; the training set must stay larger than nothing."""
    for path in sorted(source.glob("*-ubyte")) or sys.exit(f"{source}: no *-ubyte files (unpacked) of MNIST"):
        data = path.read_bytes()
        header = 16 if "images" in path.name else 8
        size = 784 if "images" in path.name else 1
        body = data[header : header + images * size]
        (target / path.name).write_bytes(data[:4] + struct.pack(">I", images) + data[8:header] + body)


def load_images(folder, part):
    pixels = numpy.frombuffer((folder / f"{part}-images-idx3-ubyte").read_bytes()[16:], numpy.uint8)
    labels = numpy.frombuffer((folder / f"{part}-labels-idx1-ubyte").read_bytes()[8:], numpy.uint8)
    # The program's normalisation of one channel: mean 0.5, deviation 0.5.
    images = (torch.tensor(pixels.reshape(-1, 1, 28, 28), dtype=torch.float64) / 255 - 0.5) / 0.5
    return images, torch.tensor(labels, dtype=torch.int64)


class Network:
    """f1 in float64 and evaluation mode, with its parameters as one vector in the order of the model."""

    def __init__(self, tensors, images, labels):
        self.model = models.f1().double().eval()
        self.images, self.labels = images, labels
        self.load(tensors)

    def load(self, tensors):
        known = self.model.state_dict()
        self.model.load_state_dict({k: tensors[k].double() if k in tensors else v for k, v in known.items()})

    def vector(self):
        return numpy.concatenate([p.detach().numpy().ravel() for p in self.model.parameters()])

    def set(self, vector):
        at = 0
        with torch.no_grad():
            for p in self.model.parameters():
                p.copy_(torch.from_numpy(vector[at : at + p.numel()]).view_as(p))
                at += p.numel()

    def measure(self):
        with torch.no_grad():
            logits = self.model(self.images)
            loss = torch.nn.functional.cross_entropy(logits, self.labels)
            return loss.item(), (logits.argmax(1) == self.labels).double().mean().item()

    def hessian_times(self, direction):
        """H v at the network's own weights, by differentiating twice."""
        parameters = list(self.model.parameters())
        loss = torch.nn.functional.cross_entropy(self.model(self.images), self.labels)
        first = torch.autograd.grad(loss, parameters, create_graph=True)
        flat = torch.cat([g.ravel() for g in first])
        second = torch.autograd.grad(flat @ torch.from_numpy(direction.ravel()), parameters)
        return torch.cat([g.ravel() for g in second]).numpy()

    def gradient(self, vector):
        self.set(vector)
        self.model.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.model(self.images), self.labels)
        loss.backward()
        return loss.item(), numpy.concatenate([p.grad.numpy().ravel() for p in self.model.parameters()])


def program(binary, *arguments):
    command = [binary, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")


def rows(folder, name):
    with open(folder / f"{name}.csv") as file:
        return list(csv.DictReader(file))


def sharpness(binary, common, checkpoint, network, folder):
    epsilon, clean = 5e-4, load_file(checkpoint)
    network.load(clean)
    centre = network.vector()
    loss = network.gradient(centre)[0]
    side = epsilon * (abs(centre) + 1)
    bounds = list(zip(centre - side, centre + side))
    percent = lambda high: 100 * (high - loss) / (1 + loss)

    program(binary, "sharpness", *common, "--checkpoint", checkpoint, "--split", "test", "--out", folder,
            "--save-points", folder / "points")
    found = json.loads((folder / "sharpness.json").read_text())
    compare("loss of the network", found["loss"], loss, 1e-4)
    for run in found["runs"]:
        network.load(clean | load_file(folder / "points" / f"start-{run['run']}.safetensors"))
        start = network.vector()

        def climb(vector):
            value, gradient = network.gradient(vector)
            return -value, -gradient

        _, low, _ = fmin_l_bfgs_b(climb, start, bounds=bounds, maxiter=10, pgtol=0, factr=0)
        compare(f"sharpness, run {run['run']}", run["sharpness"], percent(-low), 0.01)
    worst = load_file(folder / "points" / "worst.safetensors")
    network.load(clean | worst)
    compare("loss at the worst point", percent(network.measure()[0]), found["sharpness"], 1e-3)


def wrong_sign(binary, common, checkpoint, network, folder):
    """As the authors' program: from the weights, the gradient with the wrong sign, SciPy's own tolerances."""
    network.load(load_file(checkpoint))
    centre = network.vector()
    loss, _ = network.measure()
    side = 5e-4 * (abs(centre) + 1)
    program(binary, "sharpness", *common, "--checkpoint", checkpoint, "--as-authors", "--runs", 1, "--out", folder)
    found = json.loads((folder / "sharpness.json").read_text())

    def wrong(vector):
        value, gradient = network.gradient(vector)
        return -value, gradient

    _, low, info = fmin_l_bfgs_b(wrong, centre, bounds=list(zip(centre - side, centre + side)), maxiter=10)
    compare("sharpness with the authors' sign", found["sharpness"], 100 * (-low - loss) / (1 + loss), 0.01)
    print(f"    program: {found['runs'][0]['ending']}, SciPy: {info['task']}")


def hessian(binary, common, checkpoint, network, folder, steps, top=3):
    network.load(load_file(checkpoint))
    size = len(network.vector())
    exact = LinearOperator((size, size), matvec=network.hessian_times, dtype=numpy.float64)
    truth = sorted(eigsh(exact, k=top, which="LA", tol=1e-6, return_eigenvectors=False), reverse=True)
    for step in [None, *steps]:
        given = ["--products", "differences", "--step", step] if step else []
        program(binary, "hessian", *common, "--checkpoint", checkpoint, "--split", "test", "--top", top, "--steps", 30,
                "--samples", 0, "--out", folder, *given)
        for rank, (value, known) in enumerate(zip(json.loads((folder / "hessian.json").read_text())["eigenvalues"], truth)):
            what = f"eigenvalue {rank + 1}"
            if step:
                off, residual = value["value"] / known - 1, value["residual"] / known
                print(f"{what}, differences with step {step}: off {off:+.1e}, its residual {residual:.1e} of it")
            else:
                compare(what, value["value"], known, 1e-3)


def points(name, folder, network, place, bound=1e-4):
    """Compares ten rows of a command's table with the network as `place` puts it."""
    table = rows(folder, name)
    for row in table[:: max(1, len(table) // 10)][:10]:
        loss, accuracy = place(row)
        at = row.get("alpha") or row.get("strength") or row.get("x")
        compare(f"{name} at {float(at):.3g}: loss", float(row["loss"]), loss, bound)
        compare("    accuracy + 1", float(row["accuracy"]) + 1, accuracy + 1, 1.01 / len(network.labels))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", required=True, type=pathlib.Path)
    parser.add_argument("--data", required=True, type=pathlib.Path, help="folder with MNIST's *-ubyte files")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--others", nargs="*", default=[], type=pathlib.Path, help="more f1, for the wrong sign alone")
    parser.add_argument("--steps-too", action="store_true", help="also differences with several steps")
    parser.add_argument("--smoothout", default="target/release/smoothout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        data = folder / "data"
        data.mkdir()
        shortened(options.data, data, options.images)
        network = Network({}, *load_images(data, "t10k"))
        # One batch, so that each pass has one draw.
        common = ["--net", "f1", "--data", data, "--validation", 0, "--batch", options.images, "--quiet"]
        clean = load_file(options.checkpoint)
        sharpness(options.smoothout, common, options.checkpoint, network, folder)
        for checkpoint in [options.checkpoint, *options.others]:
            wrong_sign(options.smoothout, common, checkpoint, network, folder)
        steps = ["1e-3", "1e-4", "1e-5", "1e-6", "3e-7", "1e-7", "3e-8", "1e-8"] if options.steps_too else []
        hessian(options.smoothout, common, options.checkpoint, network, folder, steps)

        other = folder / "points" / "worst.safetensors"
        program(options.smoothout, "interpolate", *common, options.checkpoint, other, "--splits", "test",
                "--alphas", "-30:60:10", "--out", folder)
        end = load_file(other)

        def between(row):
            a = float(row["alpha"])
            network.load({k: (1 - a) * v.double() + a * end[k].double() for k, v in clean.items() if k in end})
            return network.measure()

        points("interpolate", folder, network, between)

        theta = folder / "theta.safetensors"

        def noise(scaling, distribution, strength, step, draw):
            program(options.smoothout, "noise", "--net", "f1", "--weights", options.checkpoint, "--scaling", scaling,
                    "--distribution", distribution, "--strength", strength, "--seed", 1, "--step", step,
                    "--draw", draw, "--out", theta)
            return load_file(theta)

        moved = lambda tensors, shares: network.load(
            {k: v.double() + sum(share * t[k].double() for share, t in shares if k in t) for k, v in tensors.items()})

        for scaling, distribution, strengths in [("constant", "uniform", "0.005:0.05:0.005"), ("filter", "gaussian", "0.05:0.5:0.05")]:
            program(options.smoothout, "sensitivity", *common, "--checkpoint", options.checkpoint, "--splits", "test",
                    "--draws", 1, "--scaling", scaling, "--distribution", distribution, "--strengths", strengths,
                    "--out", folder)

            def noisy(row):
                moved(clean, [(1, noise(scaling, distribution, row["strength"], 0, 0))])
                return network.measure()

            points("sensitivity", folder, network, noisy)

        program(options.smoothout, "landscape", *common, "--checkpoint", options.checkpoint, "--splits", "test",
                "--include", "weights,biases", "--distances", "-0.5:0.4:0.1", "--out", folder)
        direction = noise("filter", "gaussian", 1, 0, 0)

        def along(row):
            moved(clean, [(float(row["x"]), direction)])
            return network.measure()

        points("landscape", folder, network, along)
    sys.exit(f"{failures} comparisons failed" if failures else 0)


main()
