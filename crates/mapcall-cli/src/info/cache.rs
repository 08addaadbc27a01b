//! The parts of an array that are in the page cache.

use mapcall::array::Array;
use mapcall::array::map::{Map, page_size};
use serde::Serialize;

/// The maximum number of parts of a bar.
const PARTS: u64 = 40;

/// The number of bytes of one query for residency: a multiple of every page size.
const WINDOW: u64 = 1 << 30;

/// The pages of an array that are in the page cache.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Cache {
    pages: u64,
    resident: u64,
    page_size: u64,
    /// The share of the pages of each part that is in the cache, from 0 to 1.
    parts: Vec<f64>,
}

impl Cache {
    /// Asks the system which pages of an array are in the cache; `None` if the system doesn't tell.
    pub(super) fn of(array: &Array) -> Option<Self> {
        let map = array.buffer().map()?;
        let bounds = array.layout().bounds();
        let start = map
            .file_offset()
            .checked_add(u64::try_from(bounds.start).ok()?)?;
        let end = map
            .file_offset()
            .checked_add(u64::try_from(bounds.end).ok()?)?;
        let page_size = u64::try_from(page_size()).ok()?;
        let pages = if start < end {
            (end - 1) / page_size - start / page_size + 1
        } else {
            0
        };
        if !map.knows_residency() {
            return None;
        }
        let mut counting = Counting::new(pages);
        let mut at = start;
        while at < end {
            // Windows begin at page boundaries, so that no page is counted twice.
            let next = (at / WINDOW + 1).saturating_mul(WINDOW).min(end);
            counting.add(&residency(map, at, next)?);
            at = next;
        }
        Some(counting.done(page_size))
    }

    /// Returns the share of all pages that is in the cache, in percent.
    pub(super) fn percent(&self) -> u64 {
        // 100 and 0 are shown only if all pages or no page is in the cache.
        let resident = u128::from(self.resident) * 100;
        match u64::try_from(resident / u128::from(self.pages.max(1))).unwrap_or(100) {
            0 if self.resident > 0 => 1,
            percent => percent,
        }
    }

    /// Returns whether the array has no pages.
    pub(super) fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// Returns the bar, with a character for each part.
    pub(super) fn bar(&self) -> String {
        let letter = |&share: &f64| match share {
            share if share >= 1.0 => '█',
            share if share > 0.0 => '▒',
            _ => '·',
        };
        self.parts.iter().map(letter).collect()
    }
}

/// Returns whether each page between two offsets in the file is in the cache.
fn residency(map: &Map, start: u64, end: u64) -> Option<Vec<bool>> {
    let within = |at: u64| usize::try_from(at.checked_sub(map.file_offset())?).ok();
    map.residency(within(start)?..within(end)?).ok()
}

/// Counts the pages of each part.
struct Counting {
    pages: u64,
    seen: u64,
    /// The number of pages in the cache and the number of all pages, for each part.
    parts: Vec<(u64, u64)>,
}

impl Counting {
    fn new(pages: u64) -> Self {
        let parts = usize::try_from(pages.min(PARTS)).unwrap_or_default();
        Self {
            pages,
            seen: 0,
            parts: vec![(0, 0); parts],
        }
    }

    fn add(&mut self, window: &[bool]) {
        let parts = self.parts.len() as u128;
        for &is_resident in window {
            let part = u128::from(self.seen) * parts / u128::from(self.pages.max(1));
            let part = usize::try_from(part).ok();
            if let Some((resident, of)) = part.and_then(|part| self.parts.get_mut(part)) {
                *resident += u64::from(is_resident);
                *of += 1;
            }
            self.seen += 1;
        }
    }

    fn done(self, page_size: u64) -> Cache {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = |&(resident, of): &(u64, u64)| match of {
            0 => 0.0,
            of if resident == of => 1.0,
            of => resident as f64 / of as f64,
        };
        Cache {
            pages: self.pages,
            resident: self.parts.iter().map(|(resident, _)| resident).sum(),
            page_size,
            parts: self.parts.iter().map(share).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pages: &[bool]) -> Cache {
        let mut counting = Counting::new(pages.len() as u64);
        for window in pages.chunks(7) {
            counting.add(window);
        }
        counting.done(4096)
    }

    #[test]
    fn a_part_for_each_page_of_a_small_array() {
        let cache = counted(&[true, false, true]);
        assert_eq!((&*cache.bar(), cache.percent()), ("█·█", 66));
        assert_eq!(counted(&[]).bar(), "");
        assert!(counted(&[]).is_empty());
    }

    #[test]
    fn pages_are_spread_over_the_parts() {
        for pages in [40, 41, 79, 1000, 12_345] {
            let cache = counted(&vec![true; pages]);
            assert_eq!(cache.bar(), "█".repeat(40));
            assert_eq!((cache.resident, cache.percent()), (pages as u64, 100));
        }
        let mut pages = vec![false; 4000];
        pages[..1000].fill(true);
        pages[3950] = true;
        let cache = counted(&pages);
        assert_eq!(
            cache.bar(),
            format!("{}{}▒", "█".repeat(10), "·".repeat(29))
        );
        assert_eq!((cache.resident, cache.percent()), (1001, 25));
    }

    #[test]
    fn percentages_are_0_and_100_only_if_exact() {
        let mut pages = vec![true; 1000];
        pages[500] = false;
        assert_eq!(counted(&pages).percent(), 99);
        let mut pages = vec![false; 1000];
        pages[500] = true;
        assert_eq!(counted(&pages).percent(), 1);
    }
}
