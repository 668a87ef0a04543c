//! Downloads from a small server on this machine that cuts, refuses, forgets ranges or sends something else.
#![allow(clippy::unwrap_used)]

use super::*;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

/// What the server does with one request.
#[derive(Clone, Copy)]
enum Answer {
    /// Obeys ranges; ends the connection after this many bytes of the body.
    Cut(usize),
    /// Sends everything from the start, whatever range is asked for.
    NoRanges,
    /// Obeys ranges.
    Whole,
    /// An error status.
    Status(u16),
    /// A 206 that starts elsewhere.
    WrongRange,
}

/// Serves `content`, one answer a request, and returns the address and the `Range` values that were asked for.
fn serve(content: &[u8], answers: &[Answer]) -> (String, Arc<Mutex<Vec<Option<usize>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file", listener.local_addr().unwrap());
    let (content, answers) = (content.to_vec(), answers.to_vec());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let lines: Vec<String> = BufReader::new(stream.try_clone().unwrap())
                .lines()
                .map(|l| l.unwrap().to_lowercase())
                .take_while(|l| !l.is_empty())
                .collect();
            let range = lines.iter().find_map(|l| {
                l.strip_prefix("range: bytes=")?
                    .strip_suffix('-')?
                    .parse()
                    .ok()
            });
            log.lock().unwrap().push(range);
            let from = range.unwrap_or(0);
            let (status, start, sent) = match answer {
                Answer::Status(status) => (status, content.len(), 0),
                _ if from >= content.len() => (416, content.len(), 0),
                Answer::NoRanges => (200, 0, content.len()),
                Answer::WrongRange => (206, 1, content.len()),
                Answer::Cut(bytes) => (if range.is_some() { 206 } else { 200 }, from, bytes),
                Answer::Whole => (if range.is_some() { 206 } else { 200 }, from, content.len()),
            };
            let body = &content[start..];
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\nConnection: close\r\n\r\n",
                body.len(),
                content.len() - 1,
                content.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body[..sent.min(body.len())]).unwrap();
        }
    });
    (url, asked)
}

fn content() -> Vec<u8> {
    (0..200_000u32).map(|i| (i * 7 % 251) as u8).collect()
}

struct Case {
    folder: tempfile::TempDir,
    result: Result<(), Error>,
    asked: Vec<Option<usize>>,
    last: Option<Progress>,
}

/// Runs one fetch with this much already in the `.part` file.
fn run(answers: &[Answer], part: &[u8]) -> Case {
    let folder = tempfile::tempdir().unwrap();
    if !part.is_empty() {
        fs::write(folder.path().join("file.part"), part).unwrap();
    }
    let (url, asked) = serve(&content(), answers);
    let mut last = None;
    let result = fetch(
        &url,
        &folder.path().join("file"),
        &digest::of_bytes(&content()),
        &mut |p| last = Some(p.clone()),
    );
    let asked = asked.lock().unwrap().clone();
    Case {
        folder,
        result,
        asked,
        last,
    }
}

impl Case {
    fn file(&self) -> Option<Vec<u8>> {
        fs::read(self.folder.path().join("file")).ok()
    }

    fn part(&self) -> Option<u64> {
        fs::metadata(self.folder.path().join("file.part"))
            .ok()
            .map(|m| m.len())
    }
}

#[test]
fn a_whole_download_reports_progress() {
    let case = run(&[Answer::Whole], &[]);
    case.result.as_ref().unwrap();
    assert_eq!((case.file(), case.part()), (Some(content()), None));
    let last = case.last.unwrap();
    assert_eq!((last.done, last.total), (200_000, Some(200_000)));
}

#[test]
fn a_cut_connection_is_resumed_where_it_ended() {
    let case = run(
        &[Answer::Cut(70_000), Answer::Cut(50_000), Answer::Whole],
        &[],
    );
    case.result.as_ref().unwrap();
    assert_eq!(case.asked, [None, Some(70_000), Some(120_000)]);
    assert_eq!(case.file(), Some(content()));
}

#[test]
fn a_part_of_an_earlier_call_is_resumed() {
    let case = run(&[Answer::Whole], &content()[..123_456]);
    case.result.as_ref().unwrap();
    assert_eq!(case.asked, [Some(123_456)]);
    assert_eq!(case.file(), Some(content()));
}

#[test]
fn a_server_without_ranges_sends_it_all_again() {
    let case = run(&[Answer::NoRanges], &content()[..123_456]);
    case.result.as_ref().unwrap();
    assert_eq!(case.file(), Some(content()));
}

#[test]
fn a_part_that_does_not_fit_is_thrown_away_and_fetched_anew() {
    for (answers, part) in [
        (
            vec![Answer::WrongRange, Answer::Whole],
            content()[..10].to_vec(),
        ),
        (vec![Answer::Whole, Answer::Whole], vec![1; 300_000]),
    ] {
        let case = run(&answers, &part);
        case.result.as_ref().unwrap();
        assert_eq!(
            (case.asked[1], case.file(), case.part()),
            (None, Some(content()), None)
        );
    }
}

#[test]
fn a_wrong_file_is_refused_and_removed() {
    let case = run(&[Answer::Whole], &[9; 1000]);
    assert!(
        matches!(case.result, Err(Error::Digest { .. })),
        "{:?}",
        case.result
    );
    assert_eq!((case.file(), case.part()), (None, None));
}

#[test]
fn an_error_status_and_a_dead_server_say_so() {
    let case = run(&[Answer::Status(404)], &[]);
    let message = case.result.unwrap_err().to_string();
    assert!(
        message.starts_with("http://127.0.0.1") && message.ends_with("HTTP status 404"),
        "{message}"
    );
    // nobody listens: the port was free a moment ago
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let folder = tempfile::tempdir().unwrap();
    let dead = fetch(
        &format!("http://127.0.0.1:{port}/x"),
        &folder.path().join("x"),
        "",
        &mut |_| (),
    );
    assert!(matches!(dead, Err(Error::Download { .. })));
}

#[test]
fn three_fruitless_tries_keep_the_part() {
    let case = run(
        &[
            Answer::Status(503),
            Answer::Status(503),
            Answer::Status(503),
        ],
        &content()[..1000],
    );
    assert!(case.result.unwrap_err().to_string().contains("503"));
    assert_eq!(case.asked.len(), 3);
    assert_eq!(
        fs::metadata(case.folder.path().join("file.part"))
            .unwrap()
            .len(),
        1000
    );
}

#[test]
fn a_file_that_is_there_is_not_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, b"abc").unwrap();
    fetch(
        "http://127.0.0.1:1/",
        &path,
        &digest::of_bytes(b"abc"),
        &mut |_| (),
    )
    .unwrap();
}
