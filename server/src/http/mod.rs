//! The HTTP API.

pub mod cors;
pub mod error;
pub mod gate;
pub mod json;
pub mod label_name;
pub mod listen;
pub mod number;
pub mod params;
pub mod render;

use axum::http::HeaderValue;

/// The media type of the API's answers.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
