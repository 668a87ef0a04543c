#!/usr/bin/env bash
# What to run first on a machine with an NVIDIA GPU and its driver: the conformance suite, the golden files, whole steps of
# the networks, failures, and the step benchmark beside the CPU's. Needs Rust and the driver; nothing else.
#   gpu/on-device.sh [DEVICE]      DEVICE as --device takes it: cuda (the first one), cuda:1, cuda:GPU-UUID
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda}
cargo test --locked --release -p smoothout-gpu --features faults
GOLDEN_DEVICES=cuda,f32 cargo test --locked --release -p smoothout-host --features cuda --test golden
cargo test --locked --release -p smoothout-host --features cuda --test cuda -- --ignored
cargo build --locked --release -p smoothout-host --features cuda
program=${CARGO_TARGET_DIR:-target}/release/smoothout
for line in "digits 64 64" "f1 256 256" "f1 6000 6000" "c1 256 256" "c1 5000 128" "resnet 2048 128" "resnet18 256 256"; do
    read -r net batch ghost <<<"$line"
    for where in "$device" cpu; do
        # The large networks take minutes a step on a CPU.
        [ "$where" = cpu ] && [ "$batch" -gt 256 ] && continue
        [ "$where" = cpu ] && [ "$net" = resnet18 ] && continue
        "$program" bench --net "$net" --batch "$batch" --ghost "$ghost" --device "$where" --seconds 5
    done
done
