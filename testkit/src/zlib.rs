//! Compression by zlib itself, through Python, and not by the server's implementation.

use std::io::Write;
use std::process::{Command, Stdio};

/// The output of a Python program that gets `data`, and has `zlib` imported.
fn python(program: &str, data: &[u8]) -> Vec<u8> {
    let prelude = "import sys, zlib\ndata = sys.stdin.buffer.read()\n";
    let mut python = Command::new("python3")
        .args(["-c", &format!("{prelude}{program}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts: run `make setup`");
    let mut stdin = python.stdin.take().unwrap();
    let writing = std::thread::spawn({
        let data = data.to_vec();
        move || stdin.write_all(&data)
    });
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "Python fails");
    writing.join().unwrap().unwrap();
    output.stdout
}

/// A message, compressed as in permessage-deflate.
pub fn deflate(message: &[u8]) -> Vec<u8> {
    python(
        "c = zlib.compressobj(wbits=-15)\n\
         out = c.compress(data) + c.flush(zlib.Z_SYNC_FLUSH)\n\
         assert out.endswith(b'\\0\\0\\xff\\xff')\n\
         sys.stdout.buffer.write(out[:-4])",
        message,
    )
}

/// A message, compressed with a final block.
pub fn deflate_last(message: &[u8]) -> Vec<u8> {
    let program = "c = zlib.compressobj(wbits=-15)\n\
         sys.stdout.buffer.write(c.compress(data) + c.flush())";
    python(program, message)
}

/// So many MiB of zeros, compressed to a thousandth.
pub fn zeros(mebibytes: usize) -> Vec<u8> {
    let program = "c = zlib.compressobj(9, wbits=-15)\n\
         one = c.compress(bytes(1 << 20)) + c.flush(zlib.Z_FULL_FLUSH)\n\
         sys.stdout.buffer.write(one)";
    let mut zeros = python(program, b"").repeat(mebibytes);
    zeros.truncate(zeros.len() - 4);
    zeros
}

/// Decompresses a payload with a window of so many bits and no context of earlier messages.
pub fn inflate(payload: &[u8], window_bits: u8) -> Vec<u8> {
    python(
        &format!(
            "d = zlib.decompressobj(-{window_bits})\n\
             out = d.decompress(data + b'\\0\\0\\xff\\xff')\n\
             assert not (d.eof or d.unused_data or d.unconsumed_tail)\n\
             sys.stdout.buffer.write(out)"
        ),
        payload,
    )
}
