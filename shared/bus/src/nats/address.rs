//! What a configured url says: where the servers are, and who we are to them.
//!
//! The client library reads addresses out of a url and ignores the name and the password in it: those are options of the
//! connection, which then also hold for servers that it learns of later. So a list of urls has one login; a server without one
//! gets that of the others, as the servers of a cluster share their accounts. A name without a password is a token, as for every
//! other client of NATS. No error repeats what it read: it may be a password.

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

use crate::error::{BusError, BusErrorKind};

/// Where the servers are, and who we are to them.
pub(crate) struct Addresses {
    pub(crate) servers: Vec<ServerAddr>,
    login: Option<Login>,
}

#[derive(PartialEq, Eq)]
enum Login {
    Password { user: String, password: String },
    Token(String),
}

impl Addresses {
    /// Reads a list with commas between.
    pub(crate) fn parse(url: &str) -> Result<Self, BusError> {
        let parsed = url.split(',').map(|part| part.trim().parse::<ServerAddr>()).collect::<Result<Vec<_>, _>>();
        let servers =
            parsed.map_err(|_| setup("the url is not a comma-separated list of nats://user:password@host:port"))?;
        let mut login = None;
        for found in servers.iter().filter_map(Login::of) {
            let found = found?;
            if login.as_ref().is_some_and(|login| *login != found) {
                return Err(setup("the url holds several logins, but a cluster has one for all of its servers"));
            }
            login = Some(found);
        }
        Ok(Self { servers, login })
    }

    /// Adds the login to the options of a connection.
    pub(crate) fn log_in(&self, connect: ConnectOptions) -> ConnectOptions {
        match &self.login {
            None => connect,
            Some(Login::Password { user, password }) => connect.user_and_password(user.clone(), password.clone()),
            Some(Login::Token(token)) => connect.token(token.clone()),
        }
    }
}

impl Login {
    fn of(server: &ServerAddr) -> Option<Result<Self, BusError>> {
        let user = server.username()?;
        Some(match server.password() {
            Some(password) => decoded(user).and_then(|user| Ok(Self::Password { user, password: decoded(password)? })),
            None => decoded(user).map(Self::Token),
        })
    }
}

fn decoded(part: &str) -> Result<String, BusError> {
    let text = percent_decode_str(part).decode_utf8();
    text.map(Into::into).map_err(|_| setup("the login in the url is not UTF-8 when its %-escapes are read"))
}

pub(crate) fn setup(reason: impl Into<String>) -> BusError {
    BusError::new(BusErrorKind::Setup, "connect to nats", reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(url: &str) -> Option<(String, Option<String>)> {
        match Addresses::parse(url).unwrap().login? {
            Login::Password { user, password } => Some((user, Some(password))),
            Login::Token(token) => Some((token, None)),
        }
    }

    #[test]
    fn a_login_is_read_and_its_escapes_with_it() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), Some(password.to_owned())));
        assert_eq!(login("nats://a:1"), None);
        assert_eq!(login("nats://reflow:secret@a:1"), pair("reflow", "secret"));
        assert_eq!(login("nats://re%40flow:s%2Fe%2Cc@a:1"), pair("re@flow", "s/e,c"));
        assert_eq!(login("nats://s3cr3t@a:1"), Some(("s3cr3t".to_owned(), None)));
        assert_eq!(login("nats://a:1, tls://u:p@b:2,nats://u:p@c"), pair("u", "p"));
    }

    #[test]
    fn what_cannot_work_is_told_without_its_password() {
        for url in ["nats://user:secret@ho st:1", "nats://user:secret@a,nats://user:secret2@b", "nats://u:secret%ff@a"]
        {
            let error = Addresses::parse(url).map(|_| ()).unwrap_err();
            assert_eq!(error.kind, BusErrorKind::Setup, "{url}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert_eq!(Addresses::parse("nats://a:1, tls://b:2").unwrap().servers.len(), 2);
    }
}
