//! The table of parameters and multiply-accumulates of the authors' networks.

use super::*;
use crate::network::Network;
use crate::plan::{Plan, Purpose, Role};

/// (parameters, of which weights and biases outside of batch norms, their tensors, all tensors, forward MACs)
fn counts<const N: usize>(net: &Network<N>) -> (usize, usize, usize, usize, u64) {
    let plan = Plan::new(net, 2, Purpose::Training).expect("a network of the paper");
    let perturbed = || plan.tensors().filter(|t| matches!(t.role, Role::Weight | Role::Bias));
    (
        plan.parameters(),
        perturbed().map(|t| t.len()).sum(),
        perturbed().count(),
        plan.tensors().count(),
        plan.macs(),
    )
}

#[test]
fn counts_are_those_of_the_authors_networks() {
    let of = "enough capacity";
    assert_eq!(
        counts(&f1::<F1_LAYERS>().expect(of)),
        (1_462_794, 1_457_674, 12, 22, 1_455_104)
    );
    assert_eq!(
        counts(&c1::<SHALLOW_LAYERS>().expect(of)),
        (1_388_490, 1_387_082, 6, 14, 29_235_072)
    );
    assert_eq!(
        counts(&c3::<SHALLOW_LAYERS>().expect(of)),
        (1_405_860, 1_404_452, 6, 14, 29_252_352)
    );
    const R44: usize = resnet_layers(44);
    assert_eq!(
        counts(&cifar_resnet::<R44>(44, 10).expect(of)),
        (661_338, 657_978, 47, 137, 97_436_288)
    );
    assert_eq!(
        counts(&cifar_resnet::<R44>(44, 100).expect(of)),
        (667_188, 663_828, 47, 137, 97_442_048)
    );
    assert_eq!(
        counts(&alexnet::<ALEXNET_LAYERS>().expect(of)),
        (61_110_184, 61_091_496, 9, 23, 714_188_480)
    );
    assert_eq!(
        counts(&resnet18::<RESNET18_LAYERS>().expect(of)),
        (11_689_512, 11_679_912, 22, 62, 1_814_073_344)
    );
    let (parameters, ..) = counts(&resnet34::<RESNET34_LAYERS>().expect(of));
    assert_eq!(parameters, 21_797_672); // torchvision's count
}

#[test]
fn capacities_are_exact() {
    assert_eq!(digits::<DIGITS_LAYERS>().expect("fits").nodes().len(), DIGITS_LAYERS);
    assert_eq!(f1::<F1_LAYERS>().expect("fits").nodes().len(), F1_LAYERS);
    assert_eq!(c1::<SHALLOW_LAYERS>().expect("fits").nodes().len(), SHALLOW_LAYERS);
    assert_eq!(alexnet::<ALEXNET_LAYERS>().expect("fits").nodes().len(), ALEXNET_LAYERS);
    assert_eq!(resnet18::<RESNET18_LAYERS>().expect("fits").nodes().len(), RESNET18_LAYERS);
    assert_eq!(resnet34::<RESNET34_LAYERS>().expect("fits").nodes().len(), RESNET34_LAYERS);
    const R20: usize = resnet_layers(20);
    assert_eq!(cifar_resnet::<R20>(20, 10).expect("fits").nodes().len(), R20);
}

#[test]
fn a_depth_that_does_not_exist_is_refused() {
    use crate::network::BuildError;
    for depth in [0, 2, 7, 43, 45] {
        assert_eq!(cifar_resnet::<400>(depth, 10), Err(BuildError::Depth { depth }));
    }
    assert_eq!(cifar_resnet::<10>(20, 10), Err(BuildError::TooManyLayers { capacity: 10 }));
}
