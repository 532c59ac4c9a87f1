//! Keys, and the tenants behind them.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use crate::App;
use crate::error::{ApiError, INVALID_API_KEY};

/// Keys that open the server, each with the name of whose it is. Without any the server is open.
#[derive(Clone, Default)]
pub struct Keys(Vec<(String, Arc<str>)>);

impl Keys {
    /// Keys with their tenants. Several keys may have one tenant.
    pub fn new(keys: impl IntoIterator<Item = (String, String)>) -> Self {
        let keys = keys.into_iter();
        Self(keys.map(|(key, tenant)| (key, tenant.into())).collect())
    }

    /// Whether everybody may ask.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose key it is. All keys are compared in full, so that time tells nothing of them.
    fn tenant(&self, given: &str) -> Option<Arc<str>> {
        let mut found = None;
        for (key, tenant) in &self.0 {
            if bool::from(key.as_bytes().ct_eq(given.as_bytes())) {
                found = Some(Arc::clone(tenant));
            }
        }
        found
    }
}

/// Tells no key.
impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenants = self.0.iter().map(|(_, tenant)| tenant);
        formatter.debug_set().entries(tenants).finish()
    }
}

/// Who asks; the nameless one where the server is open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tenant(pub Arc<str>);

/// Lets only those pass who have a key.
pub(crate) async fn require_key(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let settings = app.settings.get();
    let keys = &settings.keys;
    let tenant = if keys.is_open() {
        Arc::default()
    } else {
        let given = given_key(request.headers()).unwrap_or_default();
        let tenant = keys.tenant(given);
        tenant.ok_or_else(|| {
            ApiError::new(
                &INVALID_API_KEY,
                "expected `Authorization: Bearer KEY` with a key of this server",
            )
        })?
    };
    request.extensions_mut().insert(Tenant(tenant));
    Ok(next.run(request).await)
}

fn given_key(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_keys_open() {
        let keys = Keys::new([
            ("sk-one".to_owned(), "a".to_owned()),
            ("sk-two".to_owned(), "b".to_owned()),
        ]);
        assert_eq!(keys.tenant("sk-two").as_deref(), Some("b"));
        for wrong in ["", "sk-", "sk-on", "sk-onee", "SK-ONE"] {
            assert_eq!(keys.tenant(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{keys:?}"), r#"{"a", "b"}"#);
    }

    #[test]
    fn the_header_is_read_as_clients_write_it() {
        let of = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            given_key(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer sk-x").as_deref(), Some("sk-x"));
        assert_eq!(of("bearer  sk-x ").as_deref(), Some("sk-x"));
        assert_eq!(of("Basic abc"), None);
        assert_eq!(of("sk-x"), None);
    }
}
