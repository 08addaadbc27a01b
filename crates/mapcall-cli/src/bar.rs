//! The progress bar of a batch.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The time after which the bar appears.
const SHORT: Duration = Duration::from_secs(1);

/// A progress bar on the standard error output, if that is a terminal. It appears after one second.
pub(crate) struct Bar {
    /// The start of the work; `None` if no bar is wanted.
    start: Option<Instant>,
    label: String,
    bytes: usize,
    drawn: Option<ProgressBar>,
}

impl Bar {
    /// Returns a bar for work on `bytes` bytes.
    pub(crate) fn new(label: &str, bytes: usize, is_wanted: bool) -> Self {
        Self {
            start: is_wanted.then(Instant::now),
            label: label.to_owned(),
            bytes,
            drawn: None,
        }
    }

    /// Shows that `done` of `calls` calls have returned.
    pub(crate) fn update(&mut self, done: usize, calls: usize) {
        let Some(elapsed) = self.start.map(|start| start.elapsed()) else {
            return;
        };
        let bytes = self.bytes as u128 * done as u128 / calls.max(1) as u128;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if self.drawn.is_none() && elapsed >= SHORT {
            self.drawn = Some(shown(&self.label, self.bytes as u64, elapsed));
        }
        if let Some(bar) = &self.drawn {
            bar.set_position(bytes);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.drawn {
            bar.finish_and_clear();
        }
    }
}

fn shown(label: &str, bytes: u64, elapsed: Duration) -> ProgressBar {
    let target = ProgressDrawTarget::stderr();
    let bar = ProgressBar::with_draw_target(Some(bytes), target).with_elapsed(elapsed);
    let template = "{prefix} {wide_bar} {percent:>3}%  {binary_bytes_per_sec}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(label.to_owned());
    bar
}
