"""Times PyTorch's plain SGD training step on the CPU and prints one JSON line: torch_step.py NET:BATCH THREADS SECONDS LAYOUT.

A step = forward, cross-entropy, backward, clipping to norm 5, SGD with momentum 0.9 and weight decay (fused), gradients
cleared; images stand ready in memory. LAYOUT is contiguous or channels_last.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
import models  # noqa: E402

NETWORKS = {
    "f1": (models.f1, (1, 28, 28)),
    "c1": (lambda: models.shallow(10, dropout=0.5), (3, 32, 32)),
    "resnet44": (lambda: models.cifar_resnet(44), (3, 32, 32)),
}


def main():
    case, threads, seconds, layout = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    name, batch = case.split(":")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    layout_of = dict(memory_format=torch.channels_last) if layout == "channels_last" else {}
    model = make().to(**layout_of).train()
    images = torch.randn(int(batch), *shape).to(**layout_of)
    labels = torch.randint(0, 10, (int(batch),))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)
    times = []
    end = None
    while end is None or len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        cross_entropy(model(images), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        stop = time.perf_counter()
        if end is None:  # the first step takes the memory
            end = stop + seconds
        else:
            times.append(stop - start)
    milliseconds = 1e3 * statistics.median(times)
    print(json.dumps(dict(case=case, layout=layout, threads=threads, median_ms=milliseconds, steps=len(times))))


main()
