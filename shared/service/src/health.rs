//! `--health`: asks the service that runs on this host whether it is ready.
//!
//! For container images without a shell or curl. It blocks, uses nothing but std, and gives up after two seconds.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use crate::{config::Config, exit::Exit};

const PATIENCE: Duration = Duration::from_secs(2);

/// Prints what `/readyz` answers and says how to end.
pub fn ask(config: &Config) -> Exit {
    if !config.metrics.enabled {
        eprintln!("`metrics.enabled` is false, so there is no admin port to ask");
        return Exit::Failed;
    }
    let host = match config.metrics.host(&config.server) {
        "0.0.0.0" => "127.0.0.1",
        "::" | "[::]" => "::1",
        host => host,
    };
    match get(host, config.metrics.port, "/readyz") {
        Ok((status, body)) => {
            println!("{}", body.trim_end());
            if status == 200 { Exit::Clean } else { Exit::Failed }
        }
        Err(error) => {
            eprintln!("cannot ask {host}:{}: {error}", config.metrics.port);
            Exit::Failed
        }
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
