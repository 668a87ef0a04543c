//! The strength of the noise, as options give it.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Strength a of the noise: a number, or `auto` for what a pilot training bears.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strength {
    /// This.
    Value(f32),
    /// The largest whose smoothed loss stays within a tolerance on a pilot training.
    Auto,
}

impl Strength {
    /// The number, where it is decided.
    pub const fn value(self) -> Option<f32> {
        match self {
            Strength::Value(value) => Some(value),
            Strength::Auto => None,
        }
    }
}

impl From<f32> for Strength {
    fn from(value: f32) -> Self {
        Strength::Value(value)
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strength::Value(value) => value.fmt(f),
            Strength::Auto => f.write_str("auto"),
        }
    }
}

/// A text that is no [`Strength`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a number nor auto")]
pub struct StrengthError(String);

impl FromStr for Strength {
    type Err = StrengthError;

    fn from_str(text: &str) -> Result<Self, StrengthError> {
        if text == "auto" {
            return Ok(Strength::Auto);
        }
        text.parse().map(Strength::Value).map_err(|_| StrengthError(text.into()))
    }
}

impl Serialize for Strength {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Strength::Value(value) => value.serialize(serializer),
            Strength::Auto => "auto".serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Strength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "neither a number nor \"auto\"")]
        enum Written {
            Number(f32),
            Word(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(value) => Ok(Strength::Value(value)),
            Written::Word(word) => word.parse().map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_auto_on_the_command_line_and_in_toml() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct File {
            strength: Strength,
        }
        for (text, strength) in [("0.0375", Strength::Value(0.0375)), ("\"auto\"", Strength::Auto)] {
            let file = File { strength };
            let toml = toml::to_string(&file).unwrap();
            assert_eq!(toml.trim(), format!("strength = {text}"));
            assert_eq!(toml::from_str::<File>(&toml).unwrap(), file);
            assert_eq!(text.trim_matches('"').parse::<Strength>().unwrap(), strength);
        }
        assert_eq!(toml::from_str::<File>("strength = 1").unwrap().strength, Strength::Value(1.0));
        let error = toml::from_str::<File>("strength = \"much\"").unwrap_err();
        assert!(error.message().contains("\"much\" is neither a number nor auto"), "{error}");
        assert!("much".parse::<Strength>().is_err());
    }
}
