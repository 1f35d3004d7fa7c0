//! Whether the simulator is fast enough not to be what a benchmark measures.
//!
//! Run with `cargo test --release -p events-api-simulator --test speed -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a failed test is how these report")]

use std::time::Instant;

use events_api_simulator::{Counts, Feed, Options, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const EVENTS: usize = 1_000_000;

/// Reads `feed` to its end over one connection; events and bytes.
async fn drain(simulator: &Simulator, feed: Feed) -> (usize, usize) {
    let host = simulator.url().replace("http://", "");
    let mut stream = TcpStream::connect(&host).await.unwrap();
    let mut body = r#"{"limit":1000,"start_time":"2020-01-01T00:00:00Z"}"#.to_owned();
    let mut buffer = vec![0; 4 << 20];
    let (mut pages, mut bytes) = (0, 0);
    loop {
        let request = format!(
            "POST /api/v2/{feed} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            simulator.token(),
            body.len(),
        );
        stream.write_all(request.as_bytes()).await.unwrap();

        let (mut filled, mut whole) = (0, usize::MAX);
        let mut start = 0;
        while filled < whole {
            filled += stream.read(&mut buffer[filled..]).await.unwrap();
            if whole == usize::MAX
                && let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n")
            {
                let head = str::from_utf8(&buffer[..end]).unwrap();
                let (_, length) = head.split_once("content-length: ").unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                start = end + 4;
                whole = start + length;
            }
        }
        pages += 1;
        bytes += whole;
        let page = str::from_utf8(&buffer[start..start + 500]).unwrap();
        let (_, rest) = page.split_once("\"cursor\":\"").unwrap();
        let (cursor, rest) = rest.split_once('"').unwrap();
        if rest.starts_with(",\"has_more\":false") {
            return (pages * 1000, bytes);
        }
        body = format!(r#"{{"cursor":"{cursor}"}}"#);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of release builds"]
async fn a_million_events_are_generated_and_served_in_seconds() {
    for total in [60_000, EVENTS] {
        let options =
            Options { accounts: 1, events: Counts::of_total(total), ..Options::default() };
        let started = Instant::now();
        let simulator = Simulator::start(options).await.unwrap();
        println!("{total} events generated in {:?}", started.elapsed());

        let started = Instant::now();
        let (events, bytes) = drain(&simulator, Feed::ItemUsages).await;
        let seconds = started.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        let (events, bytes) = (events as f64, bytes as f64);
        println!(
            "{:.0} events/s, {:.0} MB/s, {:.0} bytes each, over one connection",
            events / seconds,
            bytes / seconds / 1e6,
            bytes / events
        );
        assert!(events / seconds > 200_000.0);
    }
}
