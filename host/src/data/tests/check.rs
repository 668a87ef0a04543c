//! What `check` and `get` say.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn check_reports_counts_statistics_and_differences() {
    let digits = check("digits", Path::new("nowhere")).unwrap();
    assert!(
        digits.is_ok() && digits.to_string().contains("train 1437 images, 10 classes"),
        "{digits}"
    );
    let folder = tempfile::tempdir().unwrap();
    write_cifar100(&folder.path().join("a"));
    let small = check(folder.path().join("a").to_str().unwrap(), folder.path()).unwrap();
    assert!(small.is_ok() && small.files.is_empty());
    assert_eq!(small.parts[1].class_counts.iter().sum::<usize>(), 7);
    assert!((small.parts[0].statistics.as_ref().unwrap().mean[2] - 14.5 / 255.0).abs() < 1e-12);
    write_pictures(&folder.path().join("b"), 3);
    let pictures = check(folder.path().join("b").to_str().unwrap(), folder.path()).unwrap();
    assert_eq!(pictures.parts[0].class_counts, [3, 3]);
    // files of the official size and layout that are not the official ones
    let named = folder.path().join("cifar100");
    fs::create_dir(&named).unwrap();
    for (file, images) in [("train.bin", 50_000), ("test.bin", 10_000)] {
        fs::write(named.join(file), vec![1; images * 3074]).unwrap();
    }
    let other = check("cifar100", folder.path()).unwrap();
    assert!(!other.is_ok() && other.problems.len() >= 4, "{other}");
    assert!(
        other.to_string().contains("DIFFERS")
            && other
                .problems
                .iter()
                .any(|p| p.contains("50000 images of class 1, expected 500")),
        "{other}"
    );
    assert!(check("cifar10", folder.path()).is_err());
}

#[test]
fn get_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let get = |name| {
        get(name, folder.path(), &mut |_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(get(Name::Digits).contains("embedded in the program"));
    assert!(get(Name::ImageNet).contains("train/CLASS"));
}
