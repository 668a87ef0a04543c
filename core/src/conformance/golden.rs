//! Golden values of the suite's single layers and networks, from PyTorch in float64: made by tests/golden/conformance.py.
#![cfg_attr(rustfmt, rustfmt_skip)]

/// What a case gives.
pub(super) struct Golden {
    pub case: &'static str,
    /// Loss at the first weights, in evaluation mode.
    pub evaluation: f64,
    /// Loss of the first step, the norm of its gradient g, and 1 g1 + 2 g2 + 3 g3 + …; none where masks are core's own.
    pub training: Option<[f64; 3]>,
}

#[expect(clippy::unreadable_literal, reason = "the digits of the source")]
pub(super) const GOLDEN: &[Golden] = &[
    Golden { case: "linear", evaluation: 0.15978380520634197, training: Some([1.4311772293381066, 1.274473883612918, 318.6946732550216]) },
    Golden { case: "linear without bias", evaluation: 0.16104852324865704, training: Some([1.4308913967101675, 1.2304957611863117, 289.5921735521843]) },
    Golden { case: "linear into linear", evaluation: 1.1531173247213018, training: Some([1.1443268734861445, 0.6138260360439861, -99.08213705038901]) },
    Golden { case: "convolution", evaluation: 4.295039903645051, training: Some([3.7890778686116158, 1.9672019382250587, 159.29306785853265]) },
    Golden { case: "convolution into convolution", evaluation: 4.117514115049783, training: Some([3.50209807341707, 3.275223429320318, -123.41579069100527]) },
    Golden { case: "strided convolution", evaluation: 3.545612650126247, training: Some([3.523813911701874, 1.6710160973765789, 176.90078745628563]) },
    Golden { case: "1x1 convolution", evaluation: 4.075466069201835, training: Some([3.9410563547532473, 2.2730949387265738, -49.86096992154836]) },
    Golden { case: "grouped convolution", evaluation: 4.123561271300325, training: Some([3.6097095829029224, 2.4417160708890804, 478.5196016099517]) },
    Golden { case: "oblong convolution", evaluation: 2.5385839399549956, training: Some([2.082317870319985, 2.5439736651728255, 182.06998365589249]) },
    Golden { case: "batch norm", evaluation: 4.3268334818594925, training: Some([3.2383445852137243, 2.333429276883072, 5.995275108846791]) },
    Golden { case: "batch norm of images", evaluation: 4.036996488820614, training: Some([3.8650063913236132, 0.8145889536493517, 1.2907109302618518]) },
    Golden { case: "ReLU", evaluation: 4.370337924598584, training: Some([3.9051374888440074, 1.9962894895994325, 97.3858477448038]) },
    Golden { case: "max pooling", evaluation: 2.7955050683425493, training: Some([2.764712354202825, 2.1093401264925378, 152.30007570939836]) },
    Golden { case: "overlapping max pooling", evaluation: 3.2232721722131976, training: Some([3.2010319621005343, 2.160792518362609, 160.75283097872838]) },
    Golden { case: "average pooling", evaluation: 3.04985879673554, training: Some([3.0506119648977155, 1.122802158083023, 110.21097103940545]) },
    Golden { case: "global average pooling", evaluation: 1.1664235465499273, training: Some([1.1961562343641186, 0.4502477056555637, 33.681056060144606]) },
    Golden { case: "dropout", evaluation: 4.295039903645051, training: None },
    Golden { case: "sum", evaluation: 3.8698079845752313, training: Some([3.282106185916453, 3.0240435231820375, 33.73412363856046]) },
    Golden { case: "perceptron", evaluation: 2.277254375663064, training: Some([1.2904952172804263, 1.4500916237071118, -418.1735635826326]) },
    Golden { case: "convolutional network", evaluation: 1.4587381596791864, training: Some([1.6128936864421757, 1.7230010042020893, 67.09035186655768]) },
    Golden { case: "convolutional network with batch norm", evaluation: 1.5455195329753277, training: Some([1.7811087977313969, 4.213590337803755, 18.71225734310582]) },
    Golden { case: "residual network", evaluation: 1.413299363459412, training: Some([1.1533293433756657, 0.27025777783771865, 1.251506700187143]) },
];
