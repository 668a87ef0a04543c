//! Weights in few bits: what a network keeps of its accuracy in the memory of a device.

use smoothout::plan::{Role, Tensor};

/// Rounds the weights of convolutions and linear layers to `bits` bits, symmetrically and filter by filter: q * s with
/// whole q from -(2^(bits-1) - 1) to 2^(bits-1) - 1 and s such that the filter's largest magnitude is met. Biases and
/// batch norms stay as they are: devices keep them in 32 bits. `bits` is at least 2.
pub fn quantise(tensors: impl Iterator<Item = Tensor>, weights: &mut [f32], bits: u32) {
    let most = f64::from((1u32 << (bits.clamp(2, 31) - 1)) - 1);
    for tensor in tensors.filter(|t| t.role == Role::Weight) {
        for filter in weights[tensor.range()].chunks_mut(tensor.row_len.max(1)) {
            let largest = filter.iter().fold(0.0f64, |m, w| m.max(f64::from(w.abs())));
            if largest == 0.0 || !largest.is_finite() {
                continue;
            }
            let scale = largest / most;
            filter.iter_mut().for_each(|w| *w = ((f64::from(*w) / scale).round() * scale) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::net::NetName;
    use smoothout::plan::{Plan, Purpose};

    #[test]
    fn filters_keep_their_largest_weight_and_take_few_values() {
        let net = NetName::Digits.build(0, 10).unwrap();
        let plan: Box<crate::net::NetPlan> = Box::new(Plan::new(&net, 1, Purpose::Inference).unwrap());
        let clean: Vec<f32> = (0..plan.parameters()).map(|i| (i as f32 * 0.37).sin()).collect();
        for bits in [2, 4, 8] {
            let mut weights = clean.clone();
            quantise(plan.tensors().copied(), &mut weights, bits);
            for tensor in plan.tensors() {
                let (before, after) = (&clean[tensor.range()], &weights[tensor.range()]);
                if tensor.role != Role::Weight {
                    assert_eq!(before, after);
                    continue;
                }
                for (before, after) in before.chunks(tensor.row_len).zip(after.chunks(tensor.row_len)) {
                    let largest = before.iter().fold(0.0f32, |m, w| m.max(w.abs()));
                    let step = largest / ((1 << (bits - 1)) - 1) as f32;
                    let mut levels: Vec<i64> = after.iter().map(|w| (w / step).round() as i64).collect();
                    levels.sort_unstable();
                    levels.dedup();
                    assert!(levels.len() < 1 << bits);
                    assert_eq!(after.iter().fold(0.0f32, |m, w| m.max(w.abs())), largest);
                    for (b, a) in before.iter().zip(after) {
                        assert!((b - a).abs() <= step * 0.500_01, "{b} became {a} in steps of {step}");
                    }
                }
            }
        }
    }
}
