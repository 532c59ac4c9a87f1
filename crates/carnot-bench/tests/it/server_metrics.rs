//! Metrics of a server of the test's own, scraped beside a load.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use carnot_bench::load::{MetricsPage, MetricsWatch, Role, ServerMetrics};

/// A page whose counter and gauge are how often it was asked for; and a line to the test each time it was.
fn page(status: &'static str) -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for (count, stream) in (1..).zip(listener.incoming()) {
            let mut reader = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let body = format!(
                "# TYPE carnot_requests_running gauge\ncarnot_requests_running{{model=\"a\"}} {count}\n# TYPE asked counter\nasked_total {count}\n"
            );
            let length = body.len();
            let stream = reader.get_mut();
            write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"
            )
            .unwrap();
            tell.send(()).ok();
        }
    });
    (address, told)
}

/// What is told of a page that was asked for three times before it was ended.
fn watched(status: &'static str) -> ServerMetrics {
    let (address, told) = page(status);
    let begin = Instant::now();
    let page = MetricsPage::parse(&format!("http://{address}")).unwrap();
    let watch = MetricsWatch::start(&page, Duration::from_millis(10)).unwrap();
    for _ in 0..3 {
        told.recv().unwrap();
    }
    watch.end(begin)
}

#[test]
fn a_page_is_scraped_until_the_load_is_over() {
    let told = watched("200 OK");
    assert_eq!((told.failed, &told.failure), (0, &None));
    // Three were waited for, and one comes at the end.
    assert!(told.scrapes >= 4, "{told:?}");
    let [gauge, rate] = &told.lines[..] else {
        panic!("expected two lines, got {told:?}");
    };
    let counted: Vec<f64> = gauge.points.iter().map(|point| point[1]).collect();
    let expected: Vec<f64> = (1..=told.scrapes).map(|count| count as f64).collect();
    assert_eq!(counted, expected);
    assert_eq!((gauge.is_rate, rate.is_rate), (false, true));
    assert_eq!(rate.points.len(), told.scrapes - 1);
    // One more at each scrape: the rate is one over the time between.
    for (pair, rate) in gauge.points.windows(2).zip(&rate.points) {
        let seconds = pair[1][0] - pair[0][0];
        assert!((rate[1] * seconds - 1.0).abs() < 1e-3, "{rate:?} {pair:?}");
    }
    assert_eq!(told.roles, [(Role::Running, gauge.points.clone())]);
}

#[test]
fn a_page_that_is_not_there_is_told_once_and_fails_nothing() {
    let told = watched("404 Not Found");
    assert_eq!(told.failed, told.scrapes);
    let failure = told.failure.unwrap();
    assert!(
        failure.ends_with("/metrics: expected status 200, got 404"),
        "{failure}"
    );
    assert!(told.lines.is_empty() && told.roles.is_empty());
}
