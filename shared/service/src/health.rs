//! `--health`: asks the service that runs on this host, with this configuration, whether it is ready.
//!
//! For container images without a shell or curl. It blocks, uses nothing but std, and gives up after two seconds. Without an
//! admin port (`metrics.enabled = false`) nothing can be asked, which is a failure with that reason: a health check that
//! passes without having looked would hide exactly what it is for.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use crate::{config::Config, exit::Exit};

const PATIENCE: Duration = Duration::from_secs(2);

/// Prints what `/readyz` answers, on standard error if that is not "ready", and says how to end.
pub fn ask(config: &Config) -> Exit {
    let metrics = &config.metrics;
    let outcome = if !metrics.enabled {
        Err("`metrics.enabled` is false, so there is no admin port to ask; leave it on, or turn the health check off"
            .to_owned())
    } else if metrics.port == 0 {
        Err("`metrics.port` is 0, so only the service's log knows the port; give it a number".to_owned())
    } else {
        let host = reachable(metrics.host(&config.server));
        match get(&host, metrics.port, "/readyz") {
            Ok((200, body)) => Ok(body),
            Ok((status, body)) => Err(format!("not ready ({status}): {}", body.trim_end())),
            Err(error) => Err(format!("cannot ask {host}:{}: {error}", metrics.port)),
        }
    };
    match outcome {
        Ok(body) => {
            println!("{}", body.trim_end());
            Exit::Clean
        }
        Err(reason) => {
            eprintln!("{reason}");
            Exit::Failed
        }
    }
}

/// Who listens on every address is asked on the loopback one.
fn reachable(host: &str) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
        _ => bare.to_owned(),
    }
}

fn get(host: &str, port: u16, path: &str) -> io::Result<(u16, String)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return exchange(stream, host, path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: TcpStream, host: &str, path: &str) -> io::Result<(u16, String)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0, so that the answer ends with the connection and is never chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    let status = answer.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_asked_on_the_loopback_one() {
        for (host, asked) in [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("[::]", "::1"),
            ("0:0:0:0:0:0:0:0", "::1"),
            ("[fe80::1]", "fe80::1"),
            ("10.1.2.3", "10.1.2.3"),
            ("collector.internal", "collector.internal"),
        ] {
            assert_eq!(reachable(host), asked, "{host}");
        }
    }
}
