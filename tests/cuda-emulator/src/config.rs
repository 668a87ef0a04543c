//! The switches: environment variables, read once when the driver is initialised.

use crate::exec::launch::Races;

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct Config {
    /// `CUDA_EMULATOR_DEVICES`: how many devices there are (1).
    pub devices: usize,
    /// `CUDA_EMULATOR_CAPABILITY`: compute capability such as `7.5`, as 10 * major + minor (80).
    pub capability: u32,
    /// `CUDA_EMULATOR_MEMORY`: bytes of each device (8 GiB).
    pub memory: u64,
    /// `CUDA_EMULATOR_RACES`: `off`, `some` (the default) or `all`.
    pub races: Races,
    /// `CUDA_EMULATOR_STREAMS`: `now` (the default), or `late`: work in streams is done only when it is waited for.
    pub late: bool,
    /// `CUDA_EMULATOR_APPROX`: `near` (the default), or `worst`: `.approx` functions are as wrong as PTX allows.
    pub worst: bool,
    /// `CUDA_EMULATOR_THREADS`: host threads that run blocks (all cores).
    pub threads: usize,
    /// `CUDA_EMULATOR_FAIL`: `N:CODE` lets the N-th driver call (from 1) fail with error CODE, `NAME:N:CODE` the N-th
    /// call of one function.
    pub fail: Option<Failure>,
}

/// A planned failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Only calls of this function count.
    pub name: Option<String>,
    /// Which call, from 1.
    pub number: u64,
    /// The error it returns.
    pub code: u32,
}

impl Config {
    /// The environment's settings.
    ///
    /// # Errors
    /// A variable whose value cannot be read.
    pub fn from_environment() -> Result<Config, String> {
        Self::from(|name| std::env::var(name).ok())
    }

    fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Config, String> {
        fn number<T: std::str::FromStr>(name: &str, value: Option<String>, default: T) -> Result<T, String> {
            value.map_or(Ok(default), |text| text.parse().map_err(|_| format!("{name}={text} is not a number")))
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let get = |name: &str| variable(&format!("CUDA_EMULATOR_{name}"));
        let capability = get("CAPABILITY").unwrap_or_else(|| "8.0".into());
        let known = [75, 80, 86, 87, 89, 90, 100, 120];
        let capability = capability
            .split_once('.')
            .and_then(|(major, minor)| Some(major.parse::<u32>().ok()? * 10 + minor.parse::<u32>().ok()?))
            .filter(|c| known.contains(c))
            .ok_or_else(|| format!("CUDA_EMULATOR_CAPABILITY={capability} is none of 7.5, 8.0, 8.6, 8.7, 8.9, 9.0, 10.0, 12.0"))?;
        Ok(Config {
            devices: number("CUDA_EMULATOR_DEVICES", get("DEVICES"), 1)?,
            capability,
            memory: number("CUDA_EMULATOR_MEMORY", get("MEMORY"), 8 << 30)?,
            races: match get("RACES").as_deref() {
                None | Some("some") => Races::Some,
                Some("off") => Races::Off,
                Some("all") => Races::All,
                Some(other) => return Err(format!("CUDA_EMULATOR_RACES={other} is none of off, some, all")),
            },
            late: match get("STREAMS").as_deref() {
                None | Some("now") => false,
                Some("late") => true,
                Some(other) => return Err(format!("CUDA_EMULATOR_STREAMS={other} is neither now nor late")),
            },
            worst: match get("APPROX").as_deref() {
                None | Some("near") => false,
                Some("worst") => true,
                Some(other) => return Err(format!("CUDA_EMULATOR_APPROX={other} is neither near nor worst")),
            },
            threads: number("CUDA_EMULATOR_THREADS", get("THREADS"), cores)?.max(1),
            fail: get("FAIL").map(|text| failure(&text)).transpose()?,
        })
    }
}

fn failure(text: &str) -> Result<Failure, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let bad = || format!("CUDA_EMULATOR_FAIL={text} is neither N:CODE nor NAME:N:CODE");
    let (name, number, code) = match parts[..] {
        [number, code] => (None, number, code),
        [name, number, code] => (Some(name.to_string()), number, code),
        _ => return Err(bad()),
    };
    Ok(Failure { name, number: number.parse().map_err(|_| bad())?, code: code.parse().map_err(|_| bad())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_defaults() {
        let with = |pairs: &'static [(&str, &str)]| {
            Config::from(|name| pairs.iter().find(|p| p.0 == name).map(|p| p.1.to_string()))
        };
        let plain = with(&[]).unwrap();
        assert_eq!((plain.devices, plain.capability, plain.races), (1, 80, Races::Some));
        let set = with(&[("CUDA_EMULATOR_CAPABILITY", "7.5"), ("CUDA_EMULATOR_FAIL", "cuMemAlloc_v2:3:2")]).unwrap();
        assert_eq!(set.capability, 75);
        assert_eq!(set.fail, Some(Failure { name: Some("cuMemAlloc_v2".into()), number: 3, code: 2 }));
        assert!(with(&[("CUDA_EMULATOR_DEVICES", "two")]).unwrap_err().contains("two"));
        assert!(with(&[("CUDA_EMULATOR_CAPABILITY", "3.5")]).is_err());
        assert!(with(&[("CUDA_EMULATOR_FAIL", "x")]).is_err());
    }
}
