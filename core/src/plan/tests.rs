use super::*;
use crate::layers::{AvgPool2d, BatchNorm, Conv2d, Dropout, Linear, MaxPool2d};
use crate::network::Node;

fn refused(input: Shape, nodes: &[(Layer, Option<Source>)]) -> PlanError {
    let mut net: Network<8> = Network::new(input);
    for (i, (layer, source)) in nodes.iter().enumerate() {
        let source = source.unwrap_or(net.last());
        net.push_from(format_args!("l{i}"), *layer, source).expect("fits");
    }
    Plan::new(&net, 4, Purpose::Training).expect_err("must be refused")
}

fn problem_of(input: Shape, nodes: &[(Layer, Option<Source>)]) -> (usize, Problem) {
    match refused(input, nodes) {
        PlanError::Layer { layer, problem, .. } => (layer, problem),
        other => panic!("{other}"),
    }
}

#[test]
fn impossible_networks_are_refused_with_the_layer_at_fault() {
    let image = Shape::new(3, 8, 8);
    let conv = |c: Conv2d| (Layer::Conv2d(c), None);
    let cases = [
        (conv(Conv2d::new(0, 3)), Problem::Zero { what: "the number of output channels" }),
        (conv(Conv2d::new(4, 0)), Problem::Zero { what: "a side of the window" }),
        (conv(Conv2d::new(4, 3).stride(0)), Problem::Zero { what: "a stride" }),
        (conv(Conv2d::new(4, 3).groups(0)), Problem::Zero { what: "the number of groups" }),
        (conv(Conv2d::new(4, 3).groups(2)), Problem::Groups { groups: 2, out_channels: 4 }),
        (conv(Conv2d::new(4, 9)), Problem::Window { kernel: [9, 9], padding: [0, 0] }),
        (conv(Conv2d::new(4, 3).padding(usize::MAX)), Problem::TooLarge),
        (conv(Conv2d::new(usize::MAX, 3)), Problem::TooLarge),
        ((Layer::Linear(Linear::new(3)), None), Problem::NotFlat),
        (
            (Layer::MaxPool2d(MaxPool2d::new(3, 2).padding(2)), None),
            Problem::Padding { kernel: [3, 3], padding: [2, 2] },
        ),
        (
            (Layer::AvgPool2d(AvgPool2d::new(9, 1)), None),
            Problem::Window { kernel: [9, 9], padding: [0, 0] },
        ),
        ((Layer::Dropout(Dropout { probability: 1.0 }), None), Problem::Probability { value: 1.0 }),
        (
            (Layer::BatchNorm(BatchNorm { eps: 0.0, momentum: 0.1 }), None),
            Problem::Constant { what: "eps", value: 0.0 },
        ),
        ((Layer::Add(Source::Layer(1)), None), Problem::Source { source: 1 }),
        ((Layer::Relu, Some(Source::Layer(7))), Problem::Source { source: 7 }),
    ];
    for (node, problem) in cases {
        let nodes = [(Layer::Relu, None), node];
        assert_eq!(problem_of(image, &nodes), (1, problem), "{node:?}");
    }
    let nodes = [conv(Conv2d::new(4, 3)), (Layer::Add(Source::Input), None)];
    assert_eq!(problem_of(image, &nodes), (1, Problem::Shapes { other: image }));
    let nodes = [(Layer::Relu, None), (Layer::GlobalAvgPool, Some(Source::Input))];
    assert_eq!(problem_of(image, &nodes), (0, Problem::Unused));
    assert_eq!(problem_of(image, &[(Layer::Relu, None)]), (0, Problem::NotFlat));
    assert_eq!(refused(image, &[]), PlanError::Empty);
    let empty = Shape::new(3, 0, 8);
    assert_eq!(refused(empty, &[(Layer::Relu, None)]), PlanError::Input { shape: empty });
}

#[test]
fn batch_norm_of_one_value_is_refused_in_training_only() {
    let mut net: Network<1> = Network::new(Shape::flat(5));
    net.push(format_args!("bn"), Layer::BatchNorm(BatchNorm::default())).expect("fits");
    assert!(matches!(
        Plan::new(&net, 1, Purpose::Training),
        Err(PlanError::Layer { layer: 0, problem: Problem::OneValue, .. })
    ));
    assert!(Plan::new(&net, 1, Purpose::Inference).is_ok());
    assert_eq!(Plan::new(&net, 0, Purpose::Inference), Err(PlanError::EmptyBatch));
}

#[test]
fn parameters_follow_each_other_and_inference_needs_less_memory() {
    let net = crate::networks::digits::<10>().expect("fits");
    let plan = Plan::new(&net, 3, Purpose::Training).expect("plans");
    let mut offset = 0;
    for (index, tensor) in plan.tensors().enumerate() {
        assert_eq!((tensor.index as usize, tensor.offset), (index, offset));
        offset += tensor.len();
    }
    assert_eq!(offset, plan.parameters());
    let inference = Plan::new(&net, 3, Purpose::Inference).expect("plans");
    assert!(inference.arena() < plan.arena());
    let sum: usize = plan.layers().iter().map(|l| 2 * 3 * l.output_shape.len()).sum();
    assert!(plan.arena() < sum);
    let _: &[Node] = net.nodes();
}
