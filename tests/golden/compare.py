#!/usr/bin/env python3
"""Holds the `smoothout` program against PyTorch, live and in full; see README.md.

  compare.py gradient [--nets f1,c1,resnet44] [--batch 32] [--seeds 3] [--devices cpu,portable]
  compare.py exchange
"""
import argparse
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

import models
from programs import smoothout


def random_network(name, batch, seed):
    """PyTorch's own initial weights with running statistics as after some training, and a batch like normalised images."""
    torch.manual_seed(seed)
    _, make, shape, classes = models.NETWORKS[name]
    model = make()
    for key, tensor in model.state_dict().items():
        if key.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return model, torch.randn(batch, *shape), torch.randint(classes, (batch,))


def distances(result, exact):
    """Relative distances from float64: loss, logits, the whole gradient, all running statistics; and the worst tensor."""
    def of(keys):
        far = sum((result[key].double() - exact[key]).square().sum() for key in keys)
        return (far / sum(exact[key].square().sum() for key in keys)).sqrt().item()

    statistics = [key for key in exact if "running" in key]
    gradients = [key for key in exact if key not in ("loss", "logits") and key not in statistics]
    whole = sum(exact[key].square().sum() for key in gradients).sqrt()
    # A bias before batch norm has a true gradient of zero.
    nonzero = [key for key in gradients if exact[key].norm() > 1e-9 * whole]
    worst = max(nonzero, key=lambda key: of([key]))
    out = dict(loss=of(["loss"]), logits=of(["logits"]), gradient=of(gradients))
    if statistics:
        out["statistics"] = of(statistics)
    return out, (worst, of([worst]))


def compare_gradients(args):
    """Every device and PyTorch's f32, each against PyTorch's float64; ends with the medians over the seeds."""
    bad = 0
    for name in args.nets.split(","):
        options = models.NETWORKS[name][0]
        for mode in ["train", "eval"]:
            seen = {}
            for seed in range(args.seeds):
                model, images, labels = random_network(name, args.batch, seed)
                exact = models.gradient(model, images, labels, mode)
                results = {"pytorch": models.gradient(model, images, labels, mode, torch.float32)}
                with tempfile.TemporaryDirectory() as folder:
                    save_file(model.state_dict(), f"{folder}/w.safetensors")
                    save_file({"images": images, "labels": labels}, f"{folder}/b.safetensors")
                    for device in args.devices.split(","):
                        subprocess.run([smoothout(), "gradient", *options, "--weights", f"{folder}/w.safetensors",
                                        "--batch", f"{folder}/b.safetensors", "--mode", mode, "--dropout", "0",
                                        "--device", device, "--out", f"{folder}/g.safetensors"], check=True)
                        results[device] = load_file(f"{folder}/g.safetensors")
                        assert results[device].keys() == exact.keys()
                for who, result in results.items():
                    far, (worst, distance) = distances(result, exact)
                    seen.setdefault(who, []).append(far)
                    print(f"{name} {mode} seed {seed} {who:9}", *(f"{k} {d:.1e}" for k, d in far.items()),
                          f"worst {worst} {distance:.1e}", flush=True)
            for who, rows in seen.items():
                middle = {k: sorted(row[k] for row in rows)[len(rows) // 2] for k in rows[0]}
                if who == "pytorch":
                    pytorch = middle
                    continue
                # An f32 loss cannot be asked to be nearer than a rounding.
                ratios = {k: d / max(pytorch[k], 1.2e-7) for k, d in middle.items()}
                fine = all(ratio <= 2 for ratio in ratios.values())
                bad += not fine
                print(f"{'near' if fine else 'FAR '} {name} {mode} {who}: median over seeds, in PyTorch's own:",
                      *(f"{k} {r:.2f}" for k, r in ratios.items()), flush=True)
    return bad


def compare_exchange(_):
    """A checkpoint trained here is measured by PyTorch, and one saved by PyTorch is measured here."""
    with tempfile.TemporaryDirectory() as folder:
        run = lambda *arguments: subprocess.run([smoothout(), *arguments], check=True, capture_output=True, text=True).stdout
        run("train", "--net", "digits", "--data", "digits", "--method", "ada", "--strength", "0.2", "--epochs", "3", "--out", f"{folder}/run")
        state = load_file(f"{folder}/run/last.safetensors")
        model = models.digits()
        wanted = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
        model.load_state_dict({key: state[key] for key in wanted}, strict=False)
        save_file(model.state_dict(), f"{folder}/pytorch.safetensors")
        ours, theirs = (run("evaluate", "--net", "digits", "--data", "digits", "--checkpoint", path)
                        for path in (f"{folder}/run/last.safetensors", f"{folder}/pytorch.safetensors"))
        print("ours loaded here:        ", ours.strip())
        print("through PyTorch and back:", theirs.strip())
        images, labels = torch.randn(64, 1, 8, 8), torch.randint(10, (64,))
        save_file({"images": images, "labels": labels}, f"{folder}/b.safetensors")
        run("gradient", "--net", "digits", "--weights", f"{folder}/run/last.safetensors", "--batch", f"{folder}/b.safetensors",
            "--mode", "eval", "--out", f"{folder}/g.safetensors")
        with torch.no_grad():
            logits = model.double().eval()(images.double())
        far = ((load_file(f"{folder}/g.safetensors")["logits"].double() - logits).norm() / logits.norm()).item()
        print(f"logits of our checkpoint in PyTorch's float64: {far:.1e} apart")
        return int(ours != theirs or far > 2e-6)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["gradient", "exchange"])
    parser.add_argument("--nets", default="f1,c1,resnet44")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--devices", default="cpu,portable")
    args = parser.parse_args()
    sys.exit(bool({"gradient": compare_gradients, "exchange": compare_exchange}[args.what](args)))


if __name__ == "__main__":
    main()
