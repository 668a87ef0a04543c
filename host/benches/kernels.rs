//! Speed of the contraction kernels: one JSON line for each layer and pass.
//!
//! `cargo bench --bench kernels -- [part of a layer's name]...`; `RAYON_NUM_THREADS` and
//! `SMOOTHOUT_ISA` (`avx512`, `avx2`, `portable`) choose threads and instruction set. Times are the
//! best of many runs. `share_of_peak` compares with a loop of fused multiply-adds on as many
//! threads, timed in between; without such instructions it is left out.
#![allow(clippy::unwrap_used, missing_docs)]

use smoothout_host::cpu::aligned::Aligned;
use smoothout_host::cpu::conv::{Conv, ConvShape};
use smoothout_host::cpu::deliver::Deliver;
use smoothout_host::cpu::linear::Linear;
use smoothout_host::cpu::simd::Isa;
use smoothout_host::cpu::workspace::Workspace;
use std::time::Instant;

const SECONDS: f64 = 0.4;

enum Layer {
    Conv(ConvShape),
    Linear(usize, usize),
}

const fn square(
    ins: usize,
    size: usize,
    outs: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
) -> Layer {
    Layer::Conv(ConvShape {
        in_channels: ins,
        input: [size; 2],
        out_channels: outs,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [pad; 2],
        groups: 1,
    })
}

/// Name, images and shape: the layers of f1, c1, resnet44 for CIFAR, and two of alexnet and resnet18.
const LAYERS: [(&str, usize, Layer); 20] = [
    ("f1.0", 256, Layer::Linear(784, 512)),
    ("f1.1", 256, Layer::Linear(512, 512)),
    ("f1.last", 256, Layer::Linear(512, 10)),
    ("c1.conv1", 256, square(3, 32, 64, 5, 1, 2)),
    ("c1.conv2", 256, square(64, 15, 64, 5, 1, 2)),
    ("c1.linear1", 256, Layer::Linear(3136, 384)),
    ("c1.linear2", 256, Layer::Linear(384, 192)),
    ("resnet44.conv1", 128, square(3, 32, 16, 3, 1, 1)),
    ("resnet44.layer1", 128, square(16, 32, 16, 3, 1, 1)),
    ("resnet44.layer2.first", 128, square(16, 32, 32, 3, 2, 1)),
    ("resnet44.layer2.shortcut", 128, square(16, 32, 32, 1, 2, 0)),
    ("resnet44.layer2", 128, square(32, 16, 32, 3, 1, 1)),
    ("resnet44.layer3.first", 128, square(32, 16, 64, 3, 2, 1)),
    ("resnet44.layer3.shortcut", 128, square(32, 16, 64, 1, 2, 0)),
    ("resnet44.layer3", 128, square(64, 8, 64, 3, 1, 1)),
    ("alexnet.conv1", 16, square(3, 224, 64, 11, 4, 2)),
    ("alexnet.conv2", 16, square(64, 27, 192, 5, 1, 2)),
    ("alexnet.linear1", 128, Layer::Linear(9216, 4096)),
    ("resnet18.layer1", 16, square(64, 56, 64, 3, 1, 1)),
    ("resnet18.layer4", 16, square(512, 7, 512, 3, 1, 1)),
];

fn filled(len: usize) -> Aligned {
    let mut buffer = Aligned::zeroed(len);
    for (i, value) in buffer.iter_mut().enumerate() {
        *value = (i * 7919 % 1000) as f32 / 1000.0 - 0.5;
    }
    buffer
}

/// Best seconds of a run.
fn best(mut run: impl FnMut()) -> f64 {
    let (start, mut best) = (Instant::now(), f64::MAX);
    run();
    while start.elapsed().as_secs_f64() < SECONDS {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let isa = Isa::detect();
    let mut peak = Peak { isa, flops: 0.0 };
    for (name, images, layer) in LAYERS {
        if !wanted.is_empty() && !wanted.iter().any(|w| name.contains(w.as_str())) {
            continue;
        }
        peak.measure();
        let times = match layer {
            Layer::Conv(shape) => conv(isa, images, shape),
            Layer::Linear(inputs, outputs) => linear(isa, images, inputs, outputs),
        };
        for ((pass, seconds), macs) in times {
            let flops = 2.0 * macs as f64 / seconds;
            let mut line = serde_json::json!({
                "layer": name,
                "pass": pass,
                "images": images,
                "isa": isa.name(),
                "threads": rayon::current_num_threads(),
                "best_ms": seconds * 1e3,
                "gflops": flops / 1e9,
            });
            if peak.flops > 0.0 {
                line["share_of_peak"] = (flops / peak.flops).into();
            }
            println!("{line}");
        }
    }
}

type Times = [((&'static str, f64), usize); 3];

fn conv(isa: Isa, images: usize, shape: ConvShape) -> Times {
    let conv = Conv::new(shape);
    let blocks = images.div_ceil(16);
    let mut w = Workspace::new(conv.workspace(blocks), rayon::current_num_threads());
    let [height, width] = shape.output();
    let x = filled(blocks * 16 * shape.in_channels * shape.input[0] * shape.input[1]);
    let mut y = filled(blocks * 16 * shape.out_channels * height * width);
    let (weights, bias) = (filled(shape.weights()), filled(shape.out_channels));
    let forward = best(|| conv.forward(isa, &x, &weights, Some(&bias), &mut y, &mut w));
    let mut dx = filled(x.len());
    let input = best(|| conv.input_gradient(isa, &y, &weights, &mut dx, false, &mut w));
    let (mut dw, mut db) = (filled(weights.len()), filled(bias.len()));
    let weight = best(|| {
        conv.weight_gradient(
            isa,
            &x,
            &y,
            &mut dw,
            Some(&mut db),
            Deliver::OVERWRITE,
            &mut w,
        );
    });
    let macs = images * height * width * shape.weights();
    [
        ("forward", forward),
        ("input_gradient", input),
        ("weight_gradient", weight),
    ]
    .map(|t| (t, macs))
}

fn linear(isa: Isa, images: usize, inputs: usize, outputs: usize) -> Times {
    let layer = Linear::new(inputs, outputs);
    let blocks = images.div_ceil(16);
    let mut w = Workspace::new(layer.workspace(), rayon::current_num_threads());
    let (x, mut y) = (filled(blocks * 16 * inputs), filled(blocks * 16 * outputs));
    let (weights, bias) = (filled(inputs * outputs), filled(outputs));
    let forward = best(|| layer.forward(isa, &x, &weights, Some(&bias), &mut y));
    let mut dx = filled(x.len());
    let input = best(|| layer.input_gradient(isa, &y, &weights, &mut dx, false));
    let (mut dw, mut db) = (filled(weights.len()), filled(bias.len()));
    let weight = best(|| {
        layer.weight_gradient(
            isa,
            &x,
            &y,
            &mut dw,
            Some(&mut db),
            Deliver::OVERWRITE,
            &mut w,
        );
    });
    let macs = images * inputs * outputs;
    [
        ("forward", forward),
        ("input_gradient", input),
        ("weight_gradient", weight),
    ]
    .map(|t| (t, macs))
}

/// The most that fused multiply-adds on registers reach.
struct Peak {
    isa: Isa,
    flops: f64,
}

impl Peak {
    fn measure(&mut self) {
        let threads = rayon::current_num_threads();
        let rounds = 20_000;
        let lanes = match self.isa.name() {
            "avx512" => 16,
            "avx2" => 8,
            _ => return,
        };
        let seconds = (0..20)
            .map(|_| {
                let start = Instant::now();
                rayon::broadcast(|_| multiply_add(self.isa, rounds));
                start.elapsed().as_secs_f64()
            })
            .fold(f64::MAX, f64::min);
        let flops = (2 * lanes * CHAINS * rounds * threads) as f64 / seconds;
        self.flops = self.flops.max(flops);
    }
}

/// Independent chains of operations: more than latency times units.
const CHAINS: usize = 12;

#[cfg(target_arch = "x86_64")]
fn multiply_add(isa: Isa, rounds: usize) {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    fn wide(rounds: usize) {
        let mut sums = [_mm512_setzero_ps(); CHAINS];
        let x = _mm512_set1_ps(std::hint::black_box(0.5));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, x);
            }
        }
        std::hint::black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    fn narrow(rounds: usize) {
        let mut sums = [_mm256_setzero_ps(); CHAINS];
        let x = _mm256_set1_ps(std::hint::black_box(0.5));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, x, x);
            }
        }
        std::hint::black_box(sums);
    }

    match isa.name() {
        // SAFETY: `isa` names what the processor has.
        "avx512" => unsafe { wide(rounds) },
        // SAFETY: as above.
        "avx2" => unsafe { narrow(rounds) },
        _ => {}
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply_add(_: Isa, _: usize) {}
