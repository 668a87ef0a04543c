use super::*;
use crate::networks::digits;
use crate::plan::{Plan, Purpose};
use crate::step::{Method, SmoothOut};
use std::vec;
use std::vec::Vec;

fn uniform(len: usize, seed: u32) -> Vec<f32> {
    let mut s = seed;
    (0..len)
        .map(|_| {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (s >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

#[test]
fn a_session_learns_and_says_how_much_memory_is_missing() {
    let plan = Plan::new(&digits::<10>().expect("fits"), 8, Purpose::Training).expect("plans");
    let parameters = uniform(plan.parameters(), 1);
    let statistics = vec![1.0; plan.statistics()];
    let model = Slices { parameters: &parameters, statistics: &statistics };
    let config = Config::new(Method::SmoothOut(SmoothOut::adaptive()), 0.02);
    let needed = Session::required(&plan, &config).expect("possible");
    let mut arena = vec![0.0; needed - 1];
    let error = Session::new(&plan, &model, config, &mut arena).expect_err("too small");
    assert_eq!(error, SessionError::Arena { needed, given: needed - 1 });
    let mut arena = vec![0.0; needed];
    let mut session = Session::new(&plan, &model, config, &mut arena).expect("fits");
    let images = uniform(8 * 64, 2);
    let labels: Vec<u32> = (0..8).collect();
    let first = session.step(&images, &labels).expect("finite").loss;
    for _ in 0..30 {
        session.step(&images, &labels).expect("finite");
    }
    let last = session.step(&images, &labels).expect("finite").loss;
    assert!(last < 0.8 * first, "{first} {last}");
    assert_eq!(session.evaluate(&images, &labels).expect("fits").images, 8);
    assert_eq!(session.infer(&images).expect("fits").len(), 80);
}
