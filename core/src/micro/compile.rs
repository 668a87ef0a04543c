//! Makes stages of a plan's layers.

use super::stage::{Feed, Parameters, Stage};
use super::{Config, Model, SessionError, built};
use crate::network::{Layer, Source};
use crate::plan::{Plan, PlannedLayer};
use heapless::Vec;

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
        let of = |source: Source| match source {
            Source::Input => Feed::Images,
            Source::Layer(layer) => given.get(layer).copied().unwrap_or(Feed::Nothing),
        };
        let input = of(layer.input);
        if matches!(layer.layer, Layer::Flatten) {
            let _ = given.push(input);
            continue;
        }
        let alone = is_alone(plan, layer.input);
        if let (Feed::Stage(at), true) = (input, alone)
            && let Some(stage) = stages.get_mut(usize::from(at))
            && stage.fuse(layer)?
        {
            let _ = given.push(input);
            continue;
        }
        built::check_layer(&layer.layer)?;
        let parameters = Parameters::new(index, layer, model, config, &mut trained);
        let mut stage = Stage::new(index, layer, input, parameters)?;
        stage.addend = layer.addend().map_or(Feed::Nothing, of);
        let number = u16::try_from(stages.len()).map_err(|_| SessionError::TooLarge)?;
        let _ = given.push(Feed::Stage(number));
        stages.push(stage).map_err(|_| SessionError::TooManyStages { capacity: N })?;
    }
    connect(stages);
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

/// Which gradients flow where.
fn connect(stages: &mut [Stage<'_>]) {
    for i in 0..stages.len() {
        let (before, rest) = stages.split_at_mut(i);
        let Some(stage) = rest.first_mut() else { break };
        let live = |feed: Feed| match feed {
            Feed::Stage(at) => before.get(usize::from(at)).is_some_and(|s| s.live),
            Feed::Images | Feed::Nothing => false,
        };
        stage.input_gradient = live(stage.input);
        stage.addend_gradient = built::ELEMENTWISE && live(stage.addend);
        stage.live = stage.trains() || stage.input_gradient || stage.addend_gradient;
        let (input, addend) = (stage.input, stage.addend);
        stage.first_of_input = true;
        // A sum of a value with itself writes its gradient twice.
        stage.first_of_addend = addend != input;
        let Some((stage, later)) = rest.split_first_mut() else { break };
        for later in later {
            stage.first_of_input &= later.reads(input) == 0;
            stage.first_of_addend &= later.reads(addend) == 0;
        }
    }
}
