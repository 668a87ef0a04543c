//! One download over HTTP: resumed where it stopped, checked by SHA-256.

use super::Progress;
use crate::data::digest;
use crate::data::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{Response, header};
use ureq::{Agent, Body};

/// Tries in a row that bring not one new byte before the download fails.
const FRUITLESS_TRIES: u32 = 3;
/// More than any archive here has.
const MAX_BYTES: u64 = 1 << 30;

/// Downloads `url` to `path`. What arrives is kept beside it as `.part`, from which a later call goes on (a
/// `Range` request; a server that does not know those sends the file again from its start). Nothing is at
/// `path` before the whole file is there with the right digest.
///
/// # Errors
/// [`Error::Download`] when the address cannot be reached or answers with an error, [`Error::Digest`] for a
/// file that is another one (it is removed), [`Error::Io`].
pub fn fetch(
    url: &str,
    path: &Path,
    sha256: &str,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(), Error> {
    if path.is_file() && digest::expect(path, sha256).is_ok() {
        return Ok(());
    }
    let part = part_of(path);
    let agent: Agent = Agent::config_builder()
        .timeout_resolve(Some(Duration::from_secs(5)))
        .timeout_connect(Some(Duration::from_secs(5)))
        .timeout_recv_response(Some(Duration::from_secs(20)))
        .timeout_per_read(Some(Duration::from_secs(30)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut fruitless = 0;
    loop {
        let before = length(&part);
        match attempt(&agent, url, &part, before, progress) {
            Ok(()) => break,
            Err(Attempt::Disk(error)) => return Err(error),
            Err(Attempt::Failed(problem)) => {
                // a connection that never came up is not worth more tries
                fruitless = if length(&part) > before {
                    0
                } else {
                    fruitless + 1
                };
                if before == 0 && length(&part) == 0 || fruitless == FRUITLESS_TRIES {
                    return Err(Error::Download {
                        url: url.to_owned(),
                        problem,
                    });
                }
            }
        }
    }
    if let Err(wrong) = digest::expect(&part, sha256) {
        fs::remove_file(&part).map_err(Error::io(&part, "remove the file"))?;
        return Err(wrong);
    }
    fs::rename(&part, path).map_err(Error::io(path, "move the file here"))
}

fn part_of(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

enum Attempt {
    /// The other side or the way there: may be tried again.
    Failed(String),
    /// Our side.
    Disk(Error),
}

fn failed(problem: impl ToString) -> Attempt {
    Attempt::Failed(problem.to_string())
}

/// One request for everything from byte `offset` on.
fn attempt(
    agent: &Agent,
    url: &str,
    part: &Path,
    offset: u64,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(), Attempt> {
    let mut request = agent.get(url);
    if offset > 0 {
        request = request.header(header::RANGE, format!("bytes={offset}-"));
    }
    let response = request.call().map_err(failed)?;
    let offset = match response.status().as_u16() {
        206 if range_starts_at(&response, offset) => offset,
        200 => 0,
        206 | 416 => {
            // the part does not fit the file that is there now
            fs::remove_file(part)
                .map_err(Error::io(part, "remove the file"))
                .map_err(Attempt::Disk)?;
            return Err(failed("the server cannot go on where the download stopped"));
        }
        status => return Err(failed(format!("HTTP status {status}"))),
    };
    let file = if offset == 0 {
        File::create(part)
    } else {
        OpenOptions::new().append(true).open(part)
    };
    let mut file = file
        .map_err(Error::io(part, "open the file for writing"))
        .map_err(Attempt::Disk)?;
    let mut body = response.into_body();
    let mut state = Progress {
        step: url.to_owned(),
        done: offset,
        total: body
            .content_length()
            .map(|rest| offset.saturating_add(rest)),
    };
    progress(&state);
    let mut reader = body.as_reader();
    let mut piece = vec![0; 1 << 16];
    loop {
        let n = match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(failed(e)),
        };
        file.write_all(&piece[..n])
            .map_err(Error::io(part, "write the file"))
            .map_err(Attempt::Disk)?;
        state.done += n as u64;
        progress(&state);
        if state.done > MAX_BYTES {
            return Err(failed(format!("more than {MAX_BYTES} bytes")));
        }
    }
    match state.total {
        Some(total) if state.done < total => Err(failed(format!(
            "the connection ended after {} of {total} bytes",
            state.done
        ))),
        _ => Ok(()),
    }
}

fn range_starts_at(response: &Response<Body>, offset: u64) -> bool {
    let range = response
        .headers()
        .get(header::CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    offset > 0 && range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-")))
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
