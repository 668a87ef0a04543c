//! The learning rate over the training, as options give it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Learning rate over the training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RateShape {
    /// The same throughout.
    Constant,
    /// Half a cosine down to 0.
    #[default]
    Cosine,
    /// A tenth after half and a hundredth after three quarters of the epochs.
    Steps,
    /// From each epoch on (the first is 0) this factor of the learning rate; written as `81:0.1,122:0.01`.
    Regime(Vec<(u32, f32)>),
}

const NAMES: [(&str, RateShape); 3] =
    [("constant", RateShape::Constant), ("cosine", RateShape::Cosine), ("steps", RateShape::Steps)];

impl fmt::Display for RateShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let RateShape::Regime(changes) = self {
            let changes: Vec<String> = changes.iter().map(|(epoch, factor)| format!("{epoch}:{factor}")).collect();
            return f.write_str(&changes.join(","));
        }
        NAMES.iter().find(|(_, shape)| shape == self).map_or(Ok(()), |(name, _)| f.write_str(name))
    }
}

/// A text that is no [`RateShape`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateShapeError {
    /// No name, and no list of epochs and factors.
    #[error(
        "{text:?} is none of constant, cosine, steps and no list as 81:0.1,122:0.01; did you mean {nearest}?"
    )]
    Name {
        /// The text.
        text: String,
        /// The name most like it.
        nearest: &'static str,
    },
    /// A part of a list that is not EPOCH:FACTOR.
    #[error("{0:?} is not an epoch and a factor as in 81:0.1")]
    Change(String),
}

impl FromStr for RateShape {
    type Err = RateShapeError;

    fn from_str(text: &str) -> Result<Self, RateShapeError> {
        if let Some((_, shape)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(shape.clone());
        }
        if !text.contains(':') {
            let likeness = |name: &str| strsim::jaro_winkler(text, name);
            let nearest = NAMES.map(|(name, _)| name).into_iter();
            let nearest = nearest.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default();
            return Err(RateShapeError::Name { text: text.into(), nearest });
        }
        let change = |part: &str| {
            let (epoch, factor) = part.split_once(':')?;
            Some((epoch.trim().parse().ok()?, factor.trim().parse().ok()?))
        };
        let changes = text.split(',').map(|part| change(part).ok_or_else(|| RateShapeError::Change(part.into())));
        Ok(RateShape::Regime(changes.collect::<Result<_, _>>()?))
    }
}

impl TryFrom<String> for RateShape {
    type Error = RateShapeError;

    fn try_from(text: String) -> Result<Self, RateShapeError> {
        text.parse()
    }
}

impl From<RateShape> for String {
    fn from(shape: RateShape) -> Self {
        shape.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_back() {
        for text in ["constant", "cosine", "steps", "81:0.1,122:0.01,164:0.001", "0:0.5"] {
            assert_eq!(text.parse::<RateShape>().unwrap().to_string(), text);
        }
        assert_eq!("3:0.1, 5:1e-2".parse::<RateShape>().unwrap(), RateShape::Regime(vec![(3, 0.1), (5, 0.01)]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| text.parse::<RateShape>().unwrap_err().to_string();
        assert!(error("cosin").ends_with("did you mean cosine?"), "{}", error("cosin"));
        assert!(error("3:0.1,x:2").starts_with("\"x:2\""), "{}", error("3:0.1,x:2"));
        assert!(error("-1:0.1").starts_with("\"-1:0.1\""));
    }
}
