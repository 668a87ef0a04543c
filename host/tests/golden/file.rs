//! A golden file: cases in JSON, and the tensors that PyTorch gave for each.

use serde_json::Value;
use smoothout_host::checkpoint::{Checkpoint, Elements};
use std::path::PathBuf;

/// Where the golden files are.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// A golden file.
pub struct Golden {
    file: Checkpoint,
    /// What each case is, under the names that tests/golden gives.
    pub cases: Vec<Value>,
}

impl Golden {
    pub fn load(name: &str) -> Self {
        let file = Checkpoint::load(&folder().join(format!("{name}.safetensors"))).expect("committed");
        let cases: Vec<Value> =
            serde_json::from_str(file.text("cases").expect("there")).expect("a list of cases");
        assert!(!cases.is_empty());
        Self { file, cases }
    }

    /// A tensor of a case, f32 ones widened.
    pub fn get(&self, case: &str, tensor: &str) -> Vec<f64> {
        let name = format!("{case}/{tensor}");
        let found = self.file.get(&name).unwrap_or_else(|| panic!("{name} is missing"));
        match found.elements() {
            Elements::F64(values) => values.clone(),
            Elements::F32(values) => values.iter().copied().map(f64::from).collect(),
            other => panic!("{name} is {}", other.type_name()),
        }
    }

    /// Names of a case's tensors.
    pub fn names(&self, case: &str) -> Vec<String> {
        let prefix = format!("{case}/");
        self.file.tensors().keys().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect()
    }
}

/// Parts of a case, which are there.
pub trait Case {
    fn text(&self, key: &str) -> &str;
    fn number(&self, key: &str) -> f32;
    fn count(&self, key: &str) -> usize;
    fn flag(&self, key: &str) -> bool;
    fn pair(&self, key: &str) -> [usize; 2];
}

impl Case for Value {
    fn text(&self, key: &str) -> &str {
        self[key].as_str().unwrap_or_else(|| panic!("no text {key} in {self}"))
    }

    fn number(&self, key: &str) -> f32 {
        self[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {self}")) as f32
    }

    fn count(&self, key: &str) -> usize {
        self[key].as_u64().unwrap_or_else(|| panic!("no count {key} in {self}")) as usize
    }

    fn flag(&self, key: &str) -> bool {
        self[key].as_bool().unwrap_or_else(|| panic!("no flag {key} in {self}"))
    }

    fn pair(&self, key: &str) -> [usize; 2] {
        let at = |i| self[key][i].as_u64().unwrap_or_else(|| panic!("no pair {key} in {self}")) as usize;
        [at(0), at(1)]
    }
}
