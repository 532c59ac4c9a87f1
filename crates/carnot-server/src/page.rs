//! The live page: what the server does now, and a box to ask it something. One file, nothing from elsewhere.

use axum::response::Html;

/// `GET /`.
pub(crate) async fn page() -> Html<&'static str> {
    Html(include_str!("page.html"))
}
