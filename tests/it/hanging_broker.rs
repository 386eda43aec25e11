//! A RabbitMQ that accepts connections and never answers.

use std::fs;
use tokio::net::TcpListener;
use warren_testkit::replica::Replica;

/// Threads and open files of a process.
fn threads_and_files(pid: u32) -> usize {
    ["task", "fd"].iter().map(|it| fs::read_dir(format!("/proc/{pid}/{it}")).unwrap().count()).sum()
}

#[tokio::test]
async fn failed_connection_attempts_leak_nothing() {
    let rabbitmq = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://{}", rabbitmq.local_addr().unwrap());
    let replica = Replica::start(&[("AMQP_URL", &url)]).await;
    // The replica opens two connections at a time.
    let mut held = Vec::new();
    let mut two_more = async || {
        for _ in 0..2 {
            held.push(rabbitmq.accept().await.unwrap());
        }
        threads_and_files(replica.process.id())
    };
    two_more().await;
    let first = two_more().await;
    let later = two_more().await;
    // Earlier attempts may not have ended yet.
    assert!(later <= first + 2, "{first} threads and files, and then {later}");
    let status = replica.terminate().await;
    assert!(status.success(), "{status}");
}
