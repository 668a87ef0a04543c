//! Speed of the kernels that move memory rather than compute: one JSON line each.
//!
//! `cargo bench --bench elementwise -- [part of a kernel's name]...`; `RAYON_NUM_THREADS` and `SMOOTHOUT_ISA`
//! (`avx512`, `avx2`, `portable`) choose threads and instruction set. Times are the best of many runs. `share_of_copy`
//! is the time that a plain copy takes to move the kernel's bytes, over the kernel's time: its floor is the copy of as
//! large a buffer on as many threads. Bytes count what has to be read and written once, no matter how often a kernel
//! touches it.
#![allow(clippy::unwrap_used, missing_docs)]

use rayon::prelude::*;
use smoothout::dropout_mask::DropoutMask;
use smoothout::noise::{Address, Distribution, Noise, Scaling};
use smoothout::optimizer::{Optimizer, Update};
use smoothout_host::cpu::aligned::Aligned;
use smoothout_host::cpu::batch_norm::{
    BatchNorm, Mode, ParameterGradients, ResidualGradient, Saved, Statistics, StatisticsMut,
};
use smoothout_host::cpu::deliver::Deliver;
use smoothout_host::cpu::layout::Blocked;
use smoothout_host::cpu::noise::{Filters, perturb};
use smoothout_host::cpu::simd::Isa;
use smoothout_host::cpu::{dropout, elementwise, layout, loss, pool, update};
use std::time::Instant;

const SECONDS: f64 = 0.3;

/// Activations of f1, c1 (after its pools) and resnet44.
const ACTIVATIONS: [(&str, Blocked); 6] = [
    ("f1", activation(256, 512, 1)),
    ("c1.1", activation(256, 64, 15)),
    ("c1.2", activation(256, 64, 7)),
    ("resnet44.layer1", activation(128, 16, 32)),
    ("resnet44.layer2", activation(128, 32, 16)),
    ("resnet44.layer3", activation(128, 64, 8)),
];

const fn activation(images: usize, channels: usize, edge: usize) -> Blocked {
    Blocked {
        images,
        channels,
        height: edge,
        width: edge,
    }
}

/// The perturbed tensors of f1.
const F1: [(usize, usize); 12] = [
    (512, 784),
    (512, 1),
    (512, 512),
    (512, 1),
    (512, 512),
    (512, 1),
    (512, 512),
    (512, 1),
    (512, 512),
    (512, 1),
    (10, 512),
    (10, 1),
];

/// Prints a line for each kernel that was asked for.
struct Bench {
    isa: Isa,
    wanted: Vec<String>,
}

fn filled(len: usize, seed: usize) -> Aligned {
    let mut buffer = Aligned::zeroed(len);
    for (i, value) in buffer.iter_mut().enumerate() {
        *value = ((i + seed) * 7919 % 1000) as f32 / 1000.0 - 0.5;
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

/// Best seconds of copying half of these floats to the other half.
fn copy(floats: usize) -> f64 {
    let (from, mut to) = (filled(floats / 2, 0), filled(floats / 2, 1));
    best(|| {
        let chunks = to.par_chunks_mut(16 * 1024).zip(from.par_chunks(16 * 1024));
        chunks.for_each(|(to, from)| to.copy_from_slice(from));
    })
}

impl Bench {
    /// `floats` is what the kernel has to read and write.
    fn line(&self, name: &str, shape: &str, floats: usize, elements: usize, run: impl FnMut()) {
        let full = format!("{name} {shape}");
        if !self.wanted.is_empty()
            && !self
                .wanted
                .iter()
                .any(|wanted| full.contains(wanted.as_str()))
        {
            return;
        }
        let seconds = best(run);
        let line = serde_json::json!({
            "kernel": name,
            "shape": shape,
            "isa": self.isa.name(),
            "threads": rayon::current_num_threads(),
            "us": (seconds * 1e7).round() / 10.0,
            "gb_per_s": (floats as f64 * 40.0 / seconds / 1e9).round() / 10.0,
            "share_of_copy": (copy(floats) / seconds * 100.0).round() / 100.0,
            "ns_per_element": (seconds * 1e12 / elements as f64).round() / 1e3,
        });
        println!("{line}");
    }

    fn activations(&self, name: &str, shape: &Blocked) {
        let (isa, len) = (self.isa, shape.len());
        let channels = shape.channels;
        let line = |kernel: &str, streams: usize, run: &mut dyn FnMut()| {
            self.line(kernel, name, streams * len, len, run);
        };
        let (x, other) = (filled(len, 0), filled(len, 3));
        let (mut y, mut dy, mut dres) = (filled(len, 1), filled(len, 2), filled(len, 4));
        let beta = filled(channels, 2);
        // The deviation of `filled`: gradients that shrank in place from run to run would end as subnormal numbers.
        let gamma = vec![0.288_675; channels];
        let [mut mean, mut inv_std, mut variance, mut d_gamma, mut d_beta] =
            [(); 5].map(|()| vec![1.0; channels]);
        for residual in [None, Some(&*other)] {
            let layer = BatchNorm {
                shape: *shape,
                gamma: &gamma,
                beta: &beta,
                relu: true,
            };
            let suffix = if residual.is_some() {
                "add_relu"
            } else {
                "relu"
            };
            let streams = 2 + usize::from(residual.is_some());
            line(&format!("batch_norm_{suffix}"), streams, &mut || {
                let statistics = StatisticsMut {
                    mean: &mut mean,
                    inv_std: &mut inv_std,
                    variance: &mut variance,
                };
                layer.train(isa, 1e-5, &x, residual, &mut y, statistics);
            });
            let streams = if residual.is_some() { 5 } else { 3 };
            line(
                &format!("batch_norm_{suffix}_backward"),
                streams,
                &mut || {
                    let saved = Saved {
                        input: &x,
                        output: residual,
                        statistics: Statistics {
                            mean: &mean,
                            inv_std: &inv_std,
                        },
                    };
                    let to_residual = residual.map(|_| ResidualGradient {
                        gradient: &mut dres,
                        accumulate: false,
                    });
                    let parameters = ParameterGradients {
                        gamma: &mut d_gamma,
                        beta: &mut d_beta,
                        deliver: Deliver::OVERWRITE,
                    };
                    layer.backward(isa, Mode::Train, &saved, &mut dy, to_residual, parameters);
                    // Gradients that shrink in place from run to run would end as subnormal numbers.
                    dy[0] = 1.0;
                },
            );
        }
        line("relu", 2, &mut || elementwise::relu(isa, &x, &mut y));
        line("add_to", 3, &mut || elementwise::add_to(isa, &x, &mut y));
        let mask = DropoutMask::new(
            Address {
                seed: 1,
                step: 2,
                draw: 3,
            },
            4,
            0.0,
        );
        line("dropout", 2, &mut || {
            dropout::dropout(isa, shape, &mask, 0, &mut y)
        });
        let images = filled(shape.images * shape.image_len(), 5);
        line("to_blocked", 2, &mut || {
            layout::to_blocked(isa, shape, &images, &mut y)
        });
    }

    fn pools(&self) {
        let isa = self.isa;
        for (name, shape, padding) in [
            ("c1.1", activation(256, 64, 32), 0),
            ("c1.2", activation(256, 64, 15), 0),
            ("resnet18", activation(16, 64, 112), 1),
        ] {
            let windows = pool::Windows {
                kernel: [3, 3],
                stride: [2, 2],
                padding: [padding; 2],
            };
            let to = windows.output(&shape);
            let (mut x, mut y, mut places) = (
                filled(shape.len(), 0),
                filled(to.len(), 1),
                vec![0; to.len()],
            );
            let floats = shape.len() + to.len() * 5 / 4;
            self.line("max_pool", name, floats, shape.len(), || {
                pool::max_forward(isa, &shape, &windows, &x, &mut y, &mut places);
            });
            self.line("max_pool_backward", name, floats, shape.len(), || {
                pool::max_backward(isa, &shape, &windows, &y, &places, &mut x, false);
            });
        }
        let shape = activation(128, 64, 8);
        let (mut x, mut y) = (filled(shape.len(), 0), filled(128 * 64, 1));
        self.line(
            "global_average_pool",
            "resnet44",
            shape.len(),
            shape.len(),
            || {
                pool::global_average_forward(isa, &shape, &x, &mut y);
            },
        );
        self.line(
            "global_average_pool_backward",
            "resnet44",
            shape.len(),
            shape.len(),
            || {
                pool::global_average_backward(isa, &shape, &y, &mut x, false);
            },
        );
    }

    fn losses(&self) {
        for (name, images, classes) in [("f1", 256, 10), ("imagenet", 256, 1000)] {
            let labels: Vec<u32> = (0..images).map(|image| image * 3 % classes).collect();
            let len = (images * classes) as usize;
            let (logits, mut gradient, mut losses) =
                (filled(len, 0), filled(len, 1), vec![0.0; images as usize]);
            self.line("softmax_cross_entropy", name, 2 * len, len, || {
                let gradient = Some(&mut gradient[..]);
                loss::softmax_cross_entropy(
                    self.isa,
                    classes as usize,
                    &labels,
                    &logits,
                    &mut losses,
                    gradient,
                );
            });
        }
    }

    fn updates(&self) {
        let isa = self.isa;
        let len = F1.iter().map(|(rows, row_len)| rows * row_len).sum();
        let (mut w, g) = (filled(len, 0), filled(len, 1));
        let (mut m, mut v) = (filled(len, 2), Aligned::from(&vec![1.0; len][..]));
        let mut partial = vec![0.0; update::partial_sums(len)];
        self.line("squared_norm", "f1", len, len, || {
            update::squared_norm(isa, &g, &mut partial);
        });
        for (name, streams, optimizer) in [
            ("sgd", 3, Optimizer::sgd(0.0)),
            ("sgd_momentum", 5, Optimizer::sgd(0.9)),
            ("adam", 7, Optimizer::adam()),
        ] {
            let step = Update {
                optimizer,
                rate: 1e-3,
                weight_decay: 1e-4,
                gradient_scale: 1.0,
                time: 10,
            };
            let moments = optimizer.moments();
            let (m, v) = (
                &mut m[..len * moments.min(1)],
                &mut v[..len * (moments / 2)],
            );
            self.line(name, "f1", streams * len, len, || {
                update::update(isa, &step, &mut w, &g, m, v)
            });
        }
    }

    fn noises(&self) {
        let len = F1.iter().map(|(rows, row_len)| rows * row_len).sum();
        let (w, mut shadow) = (filled(len, 0), filled(len, 1));
        let address = Address {
            seed: 1,
            step: 2,
            draw: 3,
        };
        for distribution in [
            Distribution::Uniform,
            Distribution::Gaussian,
            Distribution::Dropout,
        ] {
            for scaling in [Scaling::Constant, Scaling::PerWeight, Scaling::PerFilter] {
                let noise = Noise::new(distribution, scaling, 0.1).unwrap();
                let name = format!("noise_{distribution:?}_{scaling:?}");
                self.line(&name, "f1", 2 * len, len, || {
                    let mut start = 0;
                    for (index, (rows, row_len)) in F1.into_iter().enumerate() {
                        let range = start..start + rows * row_len;
                        start = range.end;
                        let filters = Filters { rows, row_len };
                        let (clean, shadow) = (&w[range.clone()], &mut shadow[range]);
                        let key = address.tensor(index as u32);
                        perturb(self.isa, &noise, key, filters, clean, shadow, row_len);
                    }
                });
            }
        }
        for (rows, row_len) in [(4096, 9), (4096, 27), (65_536, 1), (2048, 576), (32, 9216)] {
            let noise = Noise::new(Distribution::Uniform, Scaling::PerFilter, 0.1).unwrap();
            let len = rows * row_len;
            let filters = Filters { rows, row_len };
            self.line(
                "noise_Uniform_PerFilter",
                &format!("{rows}x{row_len}"),
                2 * len,
                len,
                || {
                    let (clean, shadow) = (&w[..len], &mut shadow[..len]);
                    perturb(
                        self.isa,
                        &noise,
                        address.tensor(0),
                        filters,
                        clean,
                        shadow,
                        row_len,
                    );
                },
            );
        }
    }
}

fn main() {
    // Cargo passes `--bench`.
    let wanted = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let bench = Bench {
        isa: Isa::detect(),
        wanted,
    };
    // Inside of the pool, as in a training step: a call from outside would pay for waking it.
    rayon::scope(|_| {
        bench.noises();
        for (name, shape) in &ACTIVATIONS {
            bench.activations(name, shape);
        }
        bench.pools();
        bench.losses();
        bench.updates();
        bench.line("copy", "1 MiB", 1 << 18, 1 << 17, {
            let (from, mut to) = (filled(1 << 17, 0), filled(1 << 17, 1));
            move || to.copy_from_slice(&from)
        });
    });
}
