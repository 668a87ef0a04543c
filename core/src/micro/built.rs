//! What sessions are built to do: everything, or with the feature `micro-lean` only what the other features add to it. What
//! is left out takes no flash, and a session that needs it is refused.

use super::SessionError;
use crate::network::Layer;
use crate::noise::filters::ANY_NOISE;
pub(super) use crate::noise::sequence::WIDE;
use crate::noise::{Distribution, Scaling};
use crate::optimizer::Optimizer;
use crate::step::{Method, SmoothOut};

const LEAN: bool = cfg!(feature = "micro-lean");
/// Batch norm.
pub(super) const BATCH_NORM: bool = !LEAN || cfg!(feature = "micro-batch-norm");
/// Sums, dropout, average pooling, and a ReLU or max pooling that stands alone.
pub(super) const ELEMENTWISE: bool = !LEAN || cfg!(feature = "micro-elementwise");
/// Convolutions other than 3x3 with stride 1 and one group, max pooling other than 2x2 with stride 2.
pub(super) const ANY_WINDOW: bool = !LEAN || cfg!(feature = "micro-any-window");
/// Gradients of convolutions without pooling behind them plane by plane, else pixel by pixel; the ends of padded rows of
/// more than eight pixels without asking for each pixel whether it is there.
pub(super) const PLANES: bool = !LEAN || cfg!(feature = "micro-planes");
/// A stored gradient: several draws, accumulation, clipping.
pub(super) const GRADIENT: bool = !LEAN || cfg!(feature = "micro-gradient");
/// Adam and AdamW, Nesterov's momentum.
pub(super) const ANY_OPTIMIZER: bool = !LEAN || cfg!(feature = "micro-any-optimizer");

/// Whether an output that only its own ReLU needs is given up for one bit a value.
pub(super) const BITS: bool = ELEMENTWISE || BATCH_NORM;

/// Refuses a layer at the head of a stage that is left out.
pub(super) fn check_layer(layer: &Layer) -> Result<(), SessionError> {
    let what = match layer {
        Layer::Linear(_) | Layer::Conv2d(_) => return Ok(()),
        Layer::BatchNorm(_) if BATCH_NORM => return Ok(()),
        Layer::BatchNorm(_) => "feature micro-batch-norm",
        _ if ELEMENTWISE => return Ok(()),
        _ => "feature micro-elementwise",
    };
    Err(SessionError::Unsupported { what })
}

/// Refuses noise that is left out.
pub(super) fn check_method(method: &Method) -> Result<(), SessionError> {
    match method {
        Method::SmoothOut(SmoothOut {
            distribution: Distribution::Uniform,
            scaling: Scaling::Constant | Scaling::PerFilter,
            ..
        })
        | Method::Sgd => Ok(()),
        _ if ANY_NOISE => Ok(()),
        _ => Err(SessionError::Unsupported { what: "feature micro-any-noise" }),
    }
}

/// Refuses an optimizer that is left out.
pub(super) fn check_optimizer(optimizer: &Optimizer) -> Result<(), SessionError> {
    match optimizer {
        Optimizer::Sgd { nesterov: false, .. } => Ok(()),
        _ if ANY_OPTIMIZER => Ok(()),
        _ => Err(SessionError::Unsupported { what: "feature micro-any-optimizer" }),
    }
}

/// Refuses a stored gradient that is left out.
pub(super) fn check_gradient(needed: bool) -> Result<(), SessionError> {
    if GRADIENT || !needed {
        return Ok(());
    }
    Err(SessionError::Unsupported { what: "feature micro-gradient" })
}

#[cfg(test)]
mod tests {
    use super::super::tests::networks::{N, w1, w3, w3b, zoo};
    use super::super::{Config, Session, Slices};
    use super::*;
    use crate::plan::{Plan, Purpose};
    use std::vec;

    /// Runs with all features, and with none: what is left out is refused by its feature's name, everything else begins.
    #[test]
    fn what_is_left_out_is_refused() {
        let smooth = SmoothOut::adaptive();
        let gaussian = SmoothOut { distribution: Distribution::Gaussian, ..smooth };
        let per_weight = SmoothOut { scaling: Scaling::PerWeight, ..smooth };
        let nesterov = Optimizer::Sgd { momentum: 0.9, nesterov: true };
        let momentum = Optimizer::sgd(0.9);
        let mut refused = 0;
        for case in [w1(2), w3(2), w3b(2)].into_iter().chain(zoo()) {
            let plan = Plan::new(&case.net, case.batch, Purpose::Training).expect("plans");
            for (method, optimizer) in [
                (Method::Sgd, momentum),
                (Method::SmoothOut(SmoothOut::constant()), momentum),
                (Method::SmoothOut(smooth), Optimizer::adamw()),
                (Method::SmoothOut(smooth), nesterov),
                (Method::SmoothOut(gaussian), momentum),
                (Method::SmoothOut(per_weight), momentum),
            ] {
                let config = Config { optimizer, ..Config::new(method, 0.01) };
                match Session::required(&plan, &config) {
                    Ok(needed) => assert!(needed > 0),
                    Err(SessionError::Unsupported { what }) => {
                        assert!(what.starts_with("feature micro-") && LEAN, "{what}");
                        refused += 1;
                    }
                    Err(error) => panic!("{}: {error}", case.name),
                }
            }
            let plain = Config::new(Method::SmoothOut(smooth), 0.01);
            let begins = Session::required(&plan, &plain).is_ok();
            assert!(begins || !matches!(&*case.name, "W1" | "W3"), "{}", case.name);
            if begins {
                let model = Slices { parameters: &case.parameters, statistics: &case.statistics };
                let mut arena = vec![0.0; Session::required(&plan, &plain).expect("begins")];
                let mut session = Session::<N>::new(&plan, &model, plain, &mut arena).expect("begins");
                let mut gradient = vec![0.0; plan.parameters()];
                match session.gradient(&case.images, &case.labels, &mut gradient) {
                    Ok(loss) => assert!(loss.is_finite() && GRADIENT),
                    Err(error) => {
                        assert!(!GRADIENT && error == SessionError::Unsupported { what: "feature micro-gradient" });
                    }
                }
            }
        }
        assert_eq!(refused > 0, LEAN);
    }
}
