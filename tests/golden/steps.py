"""One training step of every method, written down a second time over PyTorch: passes in float64, updates by torch.optim.

θ comes from `smoothout noise`; so that it does not rest on smoothout alone, each one is compared bit for bit with
tests/noise/reference.py. An evaluation point is w + θ rounded to f32, as the program defines it.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import models
import values

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "noise"))
import reference  # noqa: E402

SEED, IMAGES, FIXED_STEP = 7, 13, 2**64 - 1
SGD = dict(kind="sgd", momentum=0.9, nesterov=False)
PLAIN = dict(method=dict(kind="sgd"), optimizer=SGD, rate=0.05, weight_decay=1e-3, clip=None, ghosts=1, batches=1,
             first=5, time=3)


def case(**changes):
    return PLAIN | changes


def smooth(distribution="uniform", scaling="constant", strength=0.05, **changes):
    """Options of SmoothOut in `changes` go to the method, the others to the step."""
    method = dict(kind="smoothout", distribution=distribution, scaling=scaling, strength=strength, count=1,
                  antithetic=False, renewal="ghost", denoise=True, norms=False)
    method |= {key: changes.pop(key) for key in list(changes) if key in method}
    return case(method=method, **changes)


CASES = {
    "sgd": case(optimizer=SGD | dict(momentum=0.0), weight_decay=0.0),
    "sgd_decay": case(optimizer=SGD | dict(momentum=0.0)),
    "momentum": case(),
    "nesterov": case(optimizer=SGD | dict(nesterov=True)),
    "adam": case(optimizer=dict(kind="adam"), rate=1e-3, weight_decay=1e-2),
    "adamw": case(optimizer=dict(kind="adamw"), rate=1e-3, weight_decay=1e-2),
    "adam_first": case(optimizer=dict(kind="adam"), rate=1e-3, weight_decay=0.0, time=1),
    "clipped": case(clip=0.1),
    "not_clipped": case(clip=1e3),
    "ghosts": case(ghosts=3),
    "accumulated": case(batches=2, ghosts=2, clip=0.5),
    "smoothout": smooth(),
    "ada": smooth(scaling="filter", strength=0.2),
    "weight": smooth(scaling="weight", strength=0.2),
    "gaussian": smooth("gaussian"),
    "gaussian_filter": smooth("gaussian", "filter", 0.2),
    "gaussian_weight": smooth("gaussian", "weight", 0.2),
    "dropout": smooth("dropout", "constant", 0.1),
    "dropout_filter": smooth("dropout", "filter", 0.1),
    "ada_ghosts": smooth(scaling="filter", strength=0.2, ghosts=3, clip=0.5),
    "ada_one_draw_a_step": smooth(scaling="filter", strength=0.2, ghosts=3, renewal="step"),
    "fixed": smooth(strength=0.1, ghosts=2, count=2, renewal="never"),
    "draws": smooth(scaling="filter", strength=0.2, ghosts=2, count=3),
    "antithetic": smooth(count=4, antithetic=True, ghosts=2),
    "antithetic_gaussian_a_step": smooth("gaussian", "filter", 0.2, count=2, antithetic=True, renewal="step"),
    "no_denoise": smooth(denoise=False),
    "ada_no_denoise": smooth(scaling="filter", strength=0.1, denoise=False, ghosts=3, count=2, clip=0.5),
    "ada_accumulated": smooth(scaling="filter", strength=0.2, batches=3, ghosts=2),
    "ada_norms": smooth(scaling="filter", strength=0.2, norms=True),
    "ada_adam": smooth(scaling="filter", strength=0.2, optimizer=dict(kind="adam"), rate=1e-3),
    "sam": case(method=dict(kind="sam", radius=0.05)),
    "sam_ghosts": case(method=dict(kind="sam", radius=0.05), ghosts=2, clip=0.5, optimizer=dict(kind="adamw"), rate=1e-3),
}


class Model:
    """The digits network: clean weights in f32, passes in float64, and what the optimizer remembers."""

    def __init__(self, smoothout):
        self.smoothout = smoothout
        stream = values.Stream()
        self.module = models.digits()
        values.fill(self.module, stream)
        self.weights = {name: p.detach().clone() for name, p in self.module.named_parameters()}
        # Moments as training leaves them: of the gradient's size, the second one positive.
        of = lambda make: {name: torch.from_numpy(make(p.numel()).reshape(p.shape)) for name, p in self.weights.items()}
        self.first = of(lambda count: stream.symmetric(count, values.f32(0.01)))
        self.second = of(lambda count: values.f32(1e-4) * (values.f32(0.5) + stream.uniform(count)))
        self.stream = stream
        self.module.double().train()

    def passes(self, point, images, labels):
        """Loss and gradient at `point`; the running statistics follow."""
        self.module.load_state_dict({name: p.double() for name, p in point.items()}, strict=False)
        self.module.zero_grad()
        loss = F.cross_entropy(self.module(images.double()), labels)
        loss.backward()
        return loss.item(), {name: p.grad.clone() for name, p in self.module.named_parameters()}

    def perturbed(self, point, method, step, draw, negative):
        """`point` + θ in f32."""
        with tempfile.TemporaryDirectory() as folder:
            save_file(point, f"{folder}/w.safetensors")
            subprocess.run([
                self.smoothout, "noise", "--net", "digits", "--weights", f"{folder}/w.safetensors",
                "--distribution", method["distribution"], "--scaling", method["scaling"],
                "--strength", str(method["strength"]), "--seed", str(SEED), "--step", str(step), "--draw", str(draw),
                "--out", f"{folder}/theta.safetensors", *["--negative"] * negative,
                *["--perturb-norms"] * method["norms"]], check=True)
            theta = load_file(f"{folder}/theta.safetensors")
        self.check(theta, point, method, step, draw, negative)
        return {name: w + theta[name] for name, w in point.items()}

    def check(self, theta, point, method, step, draw, negative):
        """θ has the bits of the contract's second writing."""
        names = {"constant": "Constant", "weight": "PerWeight", "filter": "PerFilter"}
        norms = {name for name, p in point.items() if p.dim() == 1 and name != "classifier.bias"}
        for index, (name, w) in enumerate(point.items()):
            want = [0.0] * w.numel()
            if method["norms"] or name not in norms:
                key = reference.h(reference.h(reference.h(reference.h(SEED) ^ step) ^ draw) ^ index)
                want = reference.theta(method["distribution"].capitalize(), names[method["scaling"]],
                                       reference.f32(method["strength"]), key, w.shape[0], w[0].numel(),
                                       w.reshape(-1).tolist())
            want = torch.tensor(want, dtype=torch.float32).reshape(w.shape)
            assert torch.equal(theta[name], -want if negative else want), (method, name)


def add(total, gradient, share):
    for name, g in gradient.items():
        total[name] = total.get(name, 0) + share * g


def batch_gradient(model, method, images, labels, ghosts, step):
    """Mean loss and gradient of a batch; without denoising the model's weights become the last point."""
    cuts = list(zip(images.chunk(ghosts), labels.chunk(ghosts)))
    total, losses = {}, []

    def passes(point, cut, share):
        loss, gradient = model.passes(point, *cut)
        losses.append(loss * share)
        add(total, gradient, share)

    if method["kind"] != "smoothout":
        for cut in cuts:
            passes(model.weights, cut, 1 / len(cuts))
        return sum(losses), total
    count, point = method["count"], model.weights
    share = 1 / (len(cuts) * count)
    rounds = [[cut] for cut in cuts] if method["renewal"] == "ghost" else [cuts]
    for number, round in enumerate(rounds):
        for m in range(count):
            pair = m // 2 if method["antithetic"] else m
            start = model.weights if method["denoise"] else point
            drawn = FIXED_STEP if method["renewal"] == "never" else step
            point = model.perturbed(start, method, drawn, number * count + pair, method["antithetic"] and m % 2 == 1)
            for cut in round:
                passes(point, cut, share)
    if not method["denoise"]:
        model.weights = point
    return sum(losses), total


def sam_gradient(model, radius, images, labels, ghosts):
    """Loss at the clean weights, gradient at w + radius g / |g|, whose passes leave the running statistics alone."""
    loss, first = batch_gradient(model, dict(kind="sgd"), images, labels, ghosts, 0)
    norm = torch.sqrt(sum((g * g).sum() for g in first.values()))
    statistics = {name: b.clone() for name, b in model.module.named_buffers()}
    clean = model.weights
    model.weights = {name: w.double() + radius / norm * first[name] for name, w in clean.items()}
    _, total = batch_gradient(model, dict(kind="sgd"), images, labels, ghosts, 0)
    model.weights = clean
    model.module.load_state_dict(statistics, strict=False)
    return loss, total


def update(model, gradient, case):
    """The step of torch.optim; returns weights and moments."""
    weights = {name: torch.nn.Parameter(w.double()) for name, w in model.weights.items()}
    for name, w in weights.items():
        w.grad = gradient[name]
    if case["clip"] is not None:
        torch.nn.utils.clip_grad_norm_(weights.values(), case["clip"])
    options, decay = case["optimizer"], case["weight_decay"]
    sgd = options["kind"] == "sgd"
    if sgd:
        optimizer = torch.optim.SGD(weights.values(), case["rate"], options["momentum"], weight_decay=decay,
                                    nesterov=options["nesterov"])
    else:
        kind = dict(adam=torch.optim.Adam, adamw=torch.optim.AdamW)[options["kind"]]
        optimizer = kind(weights.values(), case["rate"], weight_decay=decay)
    if case["time"] > 1:
        for name, w in weights.items():
            if sgd and options["momentum"]:
                optimizer.state[w] = dict(momentum_buffer=model.first[name].double())
            elif not sgd:
                optimizer.state[w] = dict(step=torch.tensor(case["time"] - 1.0), exp_avg=model.first[name].double(),
                                          exp_avg_sq=model.second[name].double())
    optimizer.step()
    out = {name: w.detach() for name, w in weights.items()}
    for part, keys in (("first", ("momentum_buffer", "exp_avg")), ("second", ("exp_avg_sq",))):
        for name, w in weights.items():
            for key in keys:
                if optimizer.state[w].get(key) is not None:
                    out[f"{part}.{name}"] = optimizer.state[w][key]
    return out


def step(smoothout, case):
    """What a step leaves: loss, weights, moments, running statistics."""
    model = Model(smoothout)
    total, losses = {}, []
    for index in range(case["batches"]):
        images, labels = values.batch((1, 8, 8), IMAGES, 10, model.stream)
        if case["method"]["kind"] == "sam":
            loss, gradient = sam_gradient(model, case["method"]["radius"], images, labels, case["ghosts"])
        else:
            loss, gradient = batch_gradient(model, case["method"], images, labels, case["ghosts"], case["first"] + index)
        losses.append(loss / case["batches"])
        add(total, gradient, 1 / case["batches"])
    out = {"loss": torch.tensor(sum(losses), dtype=torch.float64)}
    out |= update(model, total, case)
    return out | {name: b.clone() for name, b in model.module.named_buffers() if "running" in name}
