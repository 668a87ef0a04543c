//! Prints the defmt messages of its standard input, which an image sent: `smoothout-qemu-decode IMAGE`.

use defmt_decoder::{DecodeError, Table};
use std::{
    env,
    error::Error,
    fs,
    io::{self, Read, Write},
};

fn main() -> Result<(), Box<dyn Error>> {
    let image = fs::read(env::args_os().nth(1).ok_or("no image is named")?)?;
    let table = Table::parse(&image)?.ok_or("the image has no messages")?;
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    // Each frame ends with a zero. What comes after the last one is text: why an image failed.
    let end = bytes.iter().rposition(|byte| *byte == 0).map_or(0, |last| last + 1);
    let mut stream = table.new_stream_decoder();
    stream.received(&bytes[..end]);
    loop {
        match stream.decode() {
            Ok(frame) => println!("{}", frame.display(false)),
            Err(DecodeError::UnexpectedEof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(io::stdout().write_all(&bytes[end..])?)
}
