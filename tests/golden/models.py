"""The networks as torch.nn modules under the names that smoothout uses, and their passes."""
import torch
import torch.nn.functional as F
from torch import nn


def f1():
    layers, inputs = [], 784
    for _ in range(5):
        layers += [nn.Linear(inputs, 512), nn.BatchNorm1d(512), nn.ReLU()]
        inputs = 512
    model = nn.Sequential()
    model.add_module("flatten", nn.Flatten())
    model.add_module("layers", nn.Sequential(*layers, nn.Linear(512, 10)))
    return model


def shallow(classes=10, dropout=0.0):
    """c1 and c3."""
    conv = lambda inputs: [nn.Conv2d(inputs, 64, 5, padding=2, bias=False), nn.MaxPool2d(3, 2), nn.BatchNorm2d(64), nn.ReLU()]
    dense = lambda a, b: [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU(), nn.Dropout(dropout)]
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(*conv(3), *conv(64)))
    model.add_module("flatten", nn.Flatten())
    model.add_module("classifier", nn.Sequential(*dense(3136, 384), *dense(384, 192), nn.Linear(192, classes)))
    return model


def alexnet():
    """With the authors' order of batch norm and ReLU: before it in the first layer, after it in the others."""
    conv = lambda *size, **options: nn.Conv2d(*size, bias=False, **options)
    norm, relu = nn.BatchNorm2d, nn.ReLU
    features = [conv(3, 64, 11, stride=4, padding=2), nn.MaxPool2d(3, 2), norm(64), relu(),
                conv(64, 192, 5, padding=2), nn.MaxPool2d(3, 2), relu(), norm(192),
                conv(192, 384, 3, padding=1), relu(), norm(384), conv(384, 256, 3, padding=1), relu(), norm(256),
                conv(256, 256, 3, padding=1), nn.MaxPool2d(3, 2), relu(), norm(256)]
    dense = lambda inputs: [nn.Linear(inputs, 4096, bias=False), nn.BatchNorm1d(4096), relu(), nn.Dropout(0)]
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(*features))
    model.add_module("flatten", nn.Flatten())
    model.add_module("classifier", nn.Sequential(*dense(9216), *dense(4096), nn.Linear(4096, 1000)))
    return model


def digits():
    conv = lambda a, b: [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(*conv(1, 8), *conv(8, 16)))
    model.add_module("flatten", nn.Flatten())
    model.add_module("classifier", nn.Linear(64, 10))
    return model


class Block(nn.Module):
    """conv - BN - ReLU - conv - BN, plus the shortcut, then ReLU."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = nn.Identity()
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.downsample(x))


def resnet(stem, widths, counts, classes):
    model, inputs = nn.Sequential(), widths[0]
    for name, module in stem.items():
        model.add_module(name, module)
    for stage, (width, count) in enumerate(zip(widths, counts)):
        blocks = []
        for block in range(count):
            blocks.append(Block(inputs, width, 2 if stage > 0 and block == 0 else 1))
            inputs = width
        model.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
    model.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flatten", nn.Flatten())
    model.add_module("fc", nn.Linear(inputs, classes))
    return model


def cifar_resnet(depth=44, classes=10):
    stem = {"conv1": nn.Conv2d(3, 16, 3, 1, 1, bias=False), "bn1": nn.BatchNorm2d(16), "relu": nn.ReLU()}
    return resnet(stem, [16, 32, 64], [(depth - 2) // 6] * 3, classes)


def imagenet_resnet(counts):
    stem = {"conv1": nn.Conv2d(3, 64, 7, 2, 3, bias=False), "bn1": nn.BatchNorm2d(64), "relu": nn.ReLU(),
            "maxpool": nn.MaxPool2d(3, 2, 1)}
    return resnet(stem, [64, 128, 256, 512], counts, 1000)


# smoothout's options for the network, how it is made here, shape of an image, classes
NETWORKS = {
    "digits": (["--net", "digits"], digits, (1, 8, 8), 10),
    "f1": (["--net", "f1"], f1, (1, 28, 28), 10),
    "c1": (["--net", "c1"], shallow, (3, 32, 32), 10),
    "c3": (["--net", "c3"], lambda: shallow(100), (3, 32, 32), 100),
    "resnet20": (["--net", "resnet", "--depth", "20"], lambda: cifar_resnet(20), (3, 32, 32), 10),
    "resnet44": (["--net", "resnet"], cifar_resnet, (3, 32, 32), 10),
    "resnet44_100": (["--net", "resnet"], lambda: cifar_resnet(44, 100), (3, 32, 32), 100),
    "alexnet": (["--net", "alexnet"], alexnet, (3, 224, 224), 1000),
    "resnet18": (["--net", "resnet18"], lambda: imagenet_resnet([2, 2, 2, 2]), (3, 224, 224), 1000),
}


def gradient(model, images, labels, mode, dtype=torch.float64):
    """Loss, logits, every parameter's gradient and the running statistics after the pass, as `smoothout gradient`
    writes them. The model is left as it was."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.to(dtype).train(mode == "train")
    model.zero_grad()
    logits = model(images.to(dtype))
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    out = {"loss": loss.detach(), "logits": logits.detach()}
    out |= {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    out |= {name: tensor.clone() for name, tensor in model.state_dict().items() if "running" in name}
    model.to(torch.float32).load_state_dict(before)
    return out


def margin(model, images):
    """How near a ReLU's input comes to zero, or a pool's largest value to its second one, where PyTorch would
    take the other side: rounding errors below it change no branch, so that gradients stay as near as sums are."""
    margins = []

    def relu(module, inputs, output):
        margins.append(inputs[0].abs().min().item())

    def pool(module, inputs, output):
        kernel, stride = module.kernel_size, module.stride
        windows = inputs[0].unfold(2, kernel, stride).unfold(3, kernel, stride).flatten(4)
        best = windows.topk(2).values
        # A tie between zeros behind a ReLU is none: no gradient comes through it.
        gap = (best[..., 0] - best[..., 1])[best[..., 0] > 0]
        margins.append(gap.min().item())

    kinds = {nn.ReLU: relu, nn.MaxPool2d: pool}
    hooks = [m.register_forward_hook(kinds[type(m)]) for m in model.modules() if type(m) in kinds]
    with torch.no_grad():
        model.double()(images.double())
    for hook in hooks:
        hook.remove()
    return min(margins)
