//! The third tier: Redis, alone or a cluster, behind a breaker: down is a miss, never an error.
//!
//! The connection needs the feature `redis`; without it a cache that is to have this tier cannot be opened.

#[cfg(not(feature = "redis"))]
mod absent;
#[cfg(feature = "redis")]
mod client;

use std::time::Duration;

#[cfg(not(feature = "redis"))]
pub(crate) use self::absent::Remote;
#[cfg(feature = "redis")]
pub(crate) use self::client::Remote;

/// The third tier.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// `redis://[user:password@]host:port/database`, `unix:///path`, or `redis+cluster://host:port[,host:port…]`.
    pub url: String,
    /// How long an answer may take: it is what a request loses at most where Redis stands still.
    pub response_time: Duration,
    /// How long a connection may take.
    pub connect_time: Duration,
    /// Values of more bytes stay here: all requests share a connection, and a large one holds up those behind it.
    pub most_bytes: usize,
    /// What keys begin with.
    pub prefix: String,
}

impl RemoteSettings {
    /// With the usual bounds.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            response_time: Duration::from_millis(50),
            connect_time: Duration::from_millis(500),
            most_bytes: 4 << 20,
            prefix: "carnot:".to_owned(),
        }
    }
}

/// `url` without its password, for messages.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
    let Some((user, host)) = authority.rsplit_once('@') else {
        return url.to_owned();
    };
    let user = user.split(':').next().unwrap_or_default();
    let slash = if path.is_empty() { "" } else { "/" };
    format!("{scheme}://{user}:…@{host}{slash}{path}")
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_passwords_are_not_told() {
        let refused = |url: &str| Remote::new(RemoteSettings::new(url)).err();
        assert!(refused("redis://127.0.0.1:6379/0").is_none());
        assert!(refused("redis+cluster://a:1,b:2").is_none());
        let error = refused("http://me:secret@host/x").unwrap().to_string();
        assert!(
            error.contains("http://me:…@host/x") && !error.contains("secret"),
            "{error}"
        );
        assert_eq!(redacted("redis://:p@h:1/0"), "redis://:…@h:1/0");
        assert_eq!(redacted("redis://h:1/0"), "redis://h:1/0");
    }
}
