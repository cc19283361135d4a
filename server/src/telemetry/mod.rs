//! What Cardinal says about itself: log lines and metrics.

pub mod log;
mod metrics;
mod plain_text;
mod process;
mod readings;
pub mod self_scrape;

pub use metrics::{HttpLabels, RefusalLabels, Telemetry};
pub use plain_text::plain_text;
pub use readings::Readings;
pub use self_scrape::{ScrapedSample, read_exposition};
