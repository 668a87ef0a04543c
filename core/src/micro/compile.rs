//! Makes stages of a plan's layers.

use super::parameters::Parameters;
use super::stage::{Feed, Stage};
use super::{Config, Model, SessionError, built, window};
use crate::network::{Layer, Source};
use crate::plan::{Plan, PlannedLayer};
use heapless::Vec;

/// Layers that a plan has at most, so that the numbers of stages and of tensors take 16 bits.
pub(super) const MOST_LAYERS: usize = 32_000;

/// Adds the stages of a plan and returns the number of trained weights.
pub(super) fn compile<'m, const L: usize, const N: usize>(
    plan: &Plan<L>,
    model: Option<&dyn Model<'m>>,
    config: &Config<'_>,
    stages: &mut Vec<Stage<'m>, N>,
) -> Result<usize, SessionError> {
    // The stage that gives each layer's output.
    let mut given: Vec<Feed, L> = Vec::new();
    let mut trained = 0;
    for (index, layer) in plan.layers().iter().enumerate() {
        window::check(layer)?;
        let of = |source: Source| match source {
            Source::Input => Feed::IMAGES,
            Source::Layer(layer) => given.get(layer).copied().unwrap_or(Feed::NOTHING),
        };
        let input = of(layer.input);
        let feeder = stages.get_mut(input.number()).filter(|_| is_alone(plan, layer.input));
        if matches!(layer.layer, Layer::Flatten) || feeder.is_some_and(|stage| stage.fuse(layer)) {
            let _ = given.push(input);
            continue;
        }
        built::check_layer(&layer.layer)?;
        let parameters = Parameters::new(index, layer, model, config, &mut trained);
        let mut stage = Stage::new(index, layer, input, parameters);
        stage.addend = layer.addend().map_or(Feed::NOTHING, of);
        let _ = given.push(Feed::stage(stages.len()));
        stages.push(stage).map_err(|_| SessionError::TooManyStages { capacity: N })?;
    }
    Ok(trained)
}

/// Whether one layer alone reads this source, seen through flattening.
fn is_alone<const N: usize>(plan: &Plan<N>, source: Source) -> bool {
    if plan.layers().iter().map(|layer| layer.reads(source)).sum::<usize>() != 1 {
        return false;
    }
    let Source::Layer(at) = source else { return true };
    match plan.layers().get(at) {
        Some(PlannedLayer { layer: Layer::Flatten, input, .. }) => is_alone(plan, *input),
        _ => true,
    }
}

/// Which gradients flow where in training.
pub(super) fn connect(stages: &mut [Stage<'_>]) {
    for i in 0..stages.len() {
        let (before, rest) = stages.split_at_mut(i);
        let Some((stage, later)) = rest.split_first_mut() else { break };
        let live = |feed: Feed| before.get(feed.number()).is_some_and(|stage| stage.live);
        stage.input_gradient = live(stage.input);
        stage.addend_gradient = built::ELEMENTWISE && live(stage.addend);
        stage.live = stage.trains() || stage.input_gradient || stage.addend_gradient;
        stage.first_of_input = later.iter().all(|later| later.reads(stage.input) == 0);
        // A sum of a value with itself writes its gradient twice.
        stage.first_of_addend =
            stage.addend != stage.input && later.iter().all(|later| later.reads(stage.addend) == 0);
        let alone = stage.first_of_input && before.iter().all(|before| before.reads(stage.input) == 0);
        stage.in_place = alone && stage.input_gradient && stage.uses_batch();
        stage.again = stage.input_gradient && stage.trains_weight() && stage.has_filters();
    }
}
