#![allow(clippy::unwrap_used)]
use super::super::spec::BUILT_IN;
use super::*;
use crate::options::{MethodName, NormalizationName, Strength};
use crate::net::LAYERS;
use crate::train;
use smoothout::plan::{Plan, Purpose};

fn table1() -> Spec {
    Spec::load("table1", false).unwrap()
}

#[test]
fn every_specification_gives_trainings_that_can_be() {
    for (name, _) in BUILT_IN {
        for extra in [false, true] {
            let spec = Spec::load(name, extra).unwrap();
            assert!(spec.scale.contains_key("full"), "{name}");
            for scale in spec.scale.keys() {
                let jobs = jobs(&spec, scale, &Switches::default()).unwrap();
                assert!(!jobs.is_empty(), "{name} at {scale}");
                for job in jobs {
                    let classes = match job.config.data.as_str() {
                        "cifar100" => 100,
                        "imagenet" => 1000,
                        _ => 10,
                    };
                    let net = train::network(&job.config, classes).unwrap();
                    let plan = Box::new(Plan::<LAYERS>::new(&net, 2, Purpose::Training).unwrap());
                    assert_eq!(plan.classes(), classes, "{name}: {}", job.row);
                    train::stepper(&train::first(&job.config)).unwrap();
                    assert!(job.config.ghost <= job.config.batch);
                }
            }
        }
    }
}

#[test]
fn the_papers_numbers_are_there() {
    let accuracies: Vec<usize> = ["table1", "table2", "table3", "table4", "table5"]
        .iter()
        .map(|name| Spec::load(name, false).unwrap().row.iter().map(|row| row.paper.len()).sum())
        .collect();
    // Two of table I's rows are F1's again, with SGD.
    assert_eq!(accuracies, [12 + 4, 3 + 3 * 3 + 3 * 2, 6, 5, 7]);
}

#[test]
fn a_hash_is_that_of_what_changes_the_result() {
    let mut first = jobs(&table1(), "cpu", &Switches::default()).unwrap().swap_remove(0);
    let hash = first.hash();
    first.config.threads = 7;
    first.config.data_root = "elsewhere".into();
    assert_eq!(first.hash(), hash);
    first.config.seed = 9;
    assert_ne!(first.hash(), hash);
    // All trainings of an experiment differ, and tables III and V share some with table I.
    let hashes = |name: &str| {
        let jobs = jobs(&Spec::load(name, false).unwrap(), "cpu", &Switches::default()).unwrap();
        jobs.iter().map(|job| (format!("{}.{}", job.row, job.column), job.hash())).collect::<Vec<_>>()
    };
    let mut of_first = hashes("table1");
    let of = |name: &str| of_first.iter().find(|(other, _)| other == name).unwrap().1.clone();
    assert!(hashes("table3").contains(&("c1-256.smoothout".into(), of("c1-256.smoothout"))));
    assert!(hashes("table5").contains(&("baseline.accuracy".into(), of("c1-256.baseline"))));
    let count = of_first.len();
    of_first.sort_by(|a, b| a.1.cmp(&b.1));
    of_first.dedup_by(|a, b| a.1 == b.1);
    assert_eq!(of_first.len(), count);
}

#[test]
fn switches_reach_the_configurations_that_they_apply_to() {
    let all = [Habit::ResetOptimizer, Habit::ImagenetNormalization, Habit::FlippedDigits, Habit::FallingNoise];
    let switches =
        Switches { habits: all.to_vec(), select: SelectName::Test, seeds: Some(1), ..Switches::default() };
    let plain = jobs(&table1(), "cpu", &Switches { seeds: Some(1), ..Switches::default() }).unwrap();
    let changed = jobs(&table1(), "cpu", &switches).unwrap();
    assert_eq!(plain.len(), changed.len());
    for (plain, changed) in plain.iter().zip(&changed) {
        assert!(changed.config.reset_optimizer && !plain.config.reset_optimizer);
        assert_eq!((plain.config.validation, changed.config.validation), (0.1, 0.0));
        let normalization = [plain, changed].map(|job| job.config.normalization);
        if changed.config.data == "cifar10" {
            assert_eq!(normalization, [NormalizationName::Own, NormalizationName::Imagenet]);
            assert_eq!(changed.config.augment, plain.config.augment);
        } else {
            assert_eq!(normalization, [NormalizationName::Set; 2]);
            assert_ne!(changed.config.augment, plain.config.augment);
        }
    }
}

#[test]
fn regimes_shrink_with_the_epochs() {
    let mut config = Options { epochs: Some(10), rate_shape: Some("10:0.1,20:0.01,30:0.001".parse().unwrap()), ..Options::default() }.resolve();
    shorten(&mut config, 40);
    assert_eq!(config.rate_shape.to_string(), "3:0.1,5:0.01,8:0.001");
    config.epochs = 1;
    shorten(&mut config, 40);
    assert_eq!(config.rate_shape.to_string(), "1:0.001");
}

#[test]
fn columns_with_more_gradients_have_fewer_epochs() {
    let mut spec = Spec::load("table1", true).unwrap();
    spec.restrict(&["f1-256".into()], &[]).unwrap();
    let jobs = jobs(&spec, "full", &Switches { seeds: Some(1), ..Switches::default() }).unwrap();
    let epochs = |column: &str| jobs.iter().find(|job| job.column == column).unwrap().config.epochs;
    assert_eq!([epochs("baseline"), epochs("sam"), epochs("antithetic"), epochs("swa")], [200, 100, 100, 200]);
    let auto = jobs.iter().find(|job| job.column == "auto").unwrap();
    assert_eq!((auto.config.strength, auto.config.method), (Strength::Auto, MethodName::Smoothout));
    for (scale, all) in [("full", 200), ("small", 10), ("quick", 2)] {
        let jobs = super::jobs(&spec, scale, &Switches { seeds: Some(1), ..Switches::default() }).unwrap();
        for job in jobs.iter().filter(|job| job.config.strength == Strength::Auto) {
            assert_eq!(job.config.epochs + train::first(&job.config).epochs, all, "{scale}");
        }
    }
}

#[test]
fn extra_columns_are_no_second_method_of_a_row() {
    let spec = Spec::load("table5", true).unwrap();
    let jobs = jobs(&spec, "cpu", &Switches { seeds: Some(1), ..Switches::default() }).unwrap();
    // The seven rows of the table, and the other methods beside its baseline.
    assert_eq!(jobs.len(), 7 + 7);
    assert!(jobs.iter().all(|job| job.column == "accuracy" || job.row == "baseline"));
    let mut hashes: Vec<String> = jobs.iter().map(Job::hash).collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), jobs.len());
}

#[test]
fn rows_are_named_by_what_they_are_at_a_scale() {
    let mut spec = Spec::load("table2", false).unwrap();
    spec.label_rows("cpu");
    assert!(spec.row[0].label.starts_with("ResNet20, CIFAR-10, batch 512"));
}

#[test]
fn names_that_are_not_there_are_refused() {
    let mut spec = table1();
    let message = |error: SpecError| error.to_string();
    assert!(message(spec.restrict(&["f2".into()], &[]).unwrap_err()).starts_with("row f2 is not one of f1-256,"));
    assert!(message(spec.restrict(&[], &["sgd".into()]).unwrap_err()).starts_with("column sgd"));
    assert!(message(jobs(&spec, "tiny", &Switches::default()).unwrap_err()).ends_with("cpu, full, quick, small"));
    assert!(message(Spec::load("tabel1", false).unwrap_err()).ends_with("did you mean table1?"));
    assert!(message(Spec::parse("mine", "title = 1").unwrap_err()).starts_with("mine: line 1:"));
}
