use crate::shape::Shape;
use core::fmt;

/// Why a layer cannot work on its input.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Problem {
    /// A number that must be at least 1 is 0.
    Zero {
        /// What is 0.
        what: &'static str,
    },
    /// The groups divide the input's or the output's channels with a remainder.
    Groups {
        /// Number of groups.
        groups: usize,
        /// Output channels.
        out_channels: usize,
    },
    /// The window does not fit into the padded input.
    Window {
        /// Height and width of the window.
        kernel: [usize; 2],
        /// Padding on each side.
        padding: [usize; 2],
    },
    /// Pooling windows could lie wholly in the padding: it is more than half the window.
    Padding {
        /// Height and width of the window.
        kernel: [usize; 2],
        /// Padding on each side.
        padding: [usize; 2],
    },
    /// A linear layer, or the loss, was fed an image instead of a flat vector.
    NotFlat,
    /// The two inputs of a sum have different shapes.
    Shapes {
        /// Shape of the second input.
        other: Shape,
    },
    /// A probability outside of [0, 1).
    Probability {
        /// The probability given.
        value: f32,
    },
    /// A constant that must be finite and positive is not.
    Constant {
        /// Which one.
        what: &'static str,
        /// The value given.
        value: f32,
    },
    /// Training batch norm needs more than one value a channel.
    OneValue,
    /// The layer names a source that does not stand before it.
    Source {
        /// Index of the layer named.
        source: usize,
    },
    /// Nothing reads the layer's output.
    Unused,
    /// A size does not fit the machine's word.
    TooLarge,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Problem::Zero { what } => write!(f, "{what} is 0"),
            Problem::Groups { groups, out_channels } => write!(
                f,
                "{groups} groups do not divide the input's channels and {out_channels} output channels"
            ),
            Problem::Window { kernel: [kh, kw], padding: [ph, pw] } => write!(
                f,
                "a window of {kh}x{kw} does not fit the input with a padding of {ph}x{pw}"
            ),
            Problem::Padding { kernel: [kh, kw], padding: [ph, pw] } => {
                write!(f, "a padding of {ph}x{pw} is more than half the window of {kh}x{kw}")
            }
            Problem::NotFlat => write!(f, "a flat input is needed: flatten it first"),
            Problem::Shapes { other } => write!(f, "cannot be added to {other}"),
            Problem::Probability { value } => write!(f, "probability {value} is not in [0, 1)"),
            Problem::Constant { what, value } => {
                write!(f, "{what} {value} is not a finite positive number")
            }
            Problem::OneValue => {
                write!(f, "batch norm in training needs more than one value a channel; the batch has one")
            }
            Problem::Source { source } => {
                write!(f, "it takes its input from layer {source}, which does not stand before it")
            }
            Problem::Unused => write!(f, "nothing reads its output"),
            Problem::TooLarge => write!(f, "a size does not fit the machine's word"),
        }
    }
}
