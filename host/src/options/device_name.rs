use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// SIMD kernels on all cores.
    #[default]
    Cpu,
    /// Core's plain kernels on one core.
    Portable,
    /// The microcontroller's backend, as the chip runs it to the bit.
    Micro,
    /// An NVIDIA GPU.
    Cuda(CudaName, CudaPrecision),
}

/// Precision of the products of convolutions and linear layers on an NVIDIA GPU; sums are f32 in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CudaPrecision {
    /// tf32 where the GPU has it, else f32.
    #[default]
    Best,
    /// f32.
    F32,
    /// Factors rounded to tf32, on tensor cores.
    Tf32,
    /// Factors rounded to bf16, on tensor cores.
    Bf16,
}

/// Which NVIDIA GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CudaName {
    /// By its number.
    Number(u32),
    /// By the first `digits` hexadecimal digits of its UUID, the last of which is the lowest of `start`.
    Uuid {
        /// The digits as a number.
        start: u128,
        /// How many there are, at most 32.
        digits: u8,
    },
}

/// A text that is no [`DeviceName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of cpu, portable, micro, cuda, cuda:NUMBER and cuda:GPU-UUID; the last three may end in ,f32 ,tf32 or ,bf16")]
pub struct DeviceNameError(String);

impl FromStr for DeviceName {
    type Err = DeviceNameError;

    fn from_str(text: &str) -> Result<Self, DeviceNameError> {
        let wrong = || DeviceNameError(text.into());
        match text {
            "cpu" => Ok(Self::Cpu),
            "portable" => Ok(Self::Portable),
            "micro" => Ok(Self::Micro),
            _ => {
                let (which, precision) = match text.rsplit_once(',') {
                    None => (text, CudaPrecision::Best),
                    Some((which, "f32")) => (which, CudaPrecision::F32),
                    Some((which, "tf32")) => (which, CudaPrecision::Tf32),
                    Some((which, "bf16")) => (which, CudaPrecision::Bf16),
                    Some(_) => return Err(wrong()),
                };
                if which == "cuda" {
                    return Ok(Self::Cuda(CudaName::Number(0), precision));
                }
                let which = which.strip_prefix("cuda:").and_then(cuda_name).ok_or_else(wrong)?;
                Ok(Self::Cuda(which, precision))
            }
        }
    }
}

/// A number, or the beginning of a UUID as nvidia-smi prints it.
fn cuda_name(text: &str) -> Option<CudaName> {
    let Some(uuid) = text.strip_prefix("GPU-") else { return text.parse().ok().map(CudaName::Number) };
    let uuid = uuid.replace('-', "");
    if uuid.len() > 32 || !uuid.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let start = u128::from_str_radix(&uuid, 16).ok()?;
    Some(CudaName::Uuid { start, digits: uuid.len() as u8 })
}

impl fmt::Display for CudaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Uuid { start, digits } => write!(f, "GPU-{start:0digits$x}", digits = usize::from(*digits)),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Portable => f.write_str("portable"),
            Self::Micro => f.write_str("micro"),
            Self::Cuda(which, precision) => {
                f.write_str("cuda")?;
                if *which != CudaName::Number(0) {
                    write!(f, ":{which}")?;
                }
                f.write_str(match precision {
                    CudaPrecision::Best => "",
                    CudaPrecision::F32 => ",f32",
                    CudaPrecision::Tf32 => ",tf32",
                    CudaPrecision::Bf16 => ",bf16",
                })
            }
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = DeviceNameError;

    fn try_from(text: String) -> Result<Self, DeviceNameError> {
        text.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_back() {
        for text in [
            "cpu", "portable", "micro", "cuda", "cuda,bf16", "cuda:1", "cuda:1,f32", "cuda:GPU-00ab,tf32",
            "cuda:GPU-0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(text.parse::<DeviceName>().unwrap().to_string(), text);
        }
        assert_eq!("cuda:0".parse(), Ok(DeviceName::Cuda(CudaName::Number(0), CudaPrecision::Best)));
        let uuid = CudaName::Uuid { start: 0x1a2b, digits: 4 };
        assert_eq!("cuda:GPU-1A-2b".parse(), Ok(DeviceName::Cuda(uuid, CudaPrecision::Best)));
        for text in [
            "", "gpu", "cuda:", "cuda:-1", "cuda:GPU-", "cuda:GPU-g", "Cpu", "cuda,f16", "cpu,f32", ",f32",
            "cuda:GPU-000000000000000000000000000000000",
        ] {
            assert_eq!(text.parse::<DeviceName>(), Err(DeviceNameError(text.into())));
        }
    }
}
