//! A broker that refuses all connections with a given text.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Starts a broker that begins a connection as RabbitMQ does, and then closes it with this text, of at most 255 bytes.
/// Returns its URL. The broker ends with the test's runtime.
pub async fn start(text: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let text = text.to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let text = text.clone();
            tokio::spawn(async move { refuse(stream, &text).await });
        }
    });
    format!("amqp://guest:hunter2@{address}")
}

async fn refuse(mut stream: TcpStream, text: &str) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 8]).await?;
    // connection.start: AMQP 0-9, no properties, PLAIN, a locale.
    let long = |value: &[u8]| [&(value.len() as u32).to_be_bytes(), value].concat();
    let start = [&[0, 10, 0, 10, 0, 9, 0, 0, 0, 0][..], &long(b"PLAIN"), &long(b"en_US")];
    method(&mut stream, &start.concat()).await?;
    // connection.start-ok, whose content does not matter.
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    stream.read_exact(&mut vec![0; size + 1]).await?;
    // connection.close: 530, not allowed.
    let reason = [&[text.len() as u8][..], text.as_bytes()].concat();
    method(&mut stream, &[&[0, 10, 0, 50, 2, 18][..], &reason, &[0; 4]].concat()).await?;
    stream.read_to_end(&mut Vec::new()).await.map(|_| ())
}

async fn method(stream: &mut TcpStream, payload: &[u8]) -> std::io::Result<()> {
    let size = (payload.len() as u32).to_be_bytes();
    stream.write_all(&[&[1, 0, 0], &size[..], payload, &[0xce]].concat()).await
}
