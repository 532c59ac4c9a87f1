//! Places of allocations, then and now: which allocates more.
//!
//! Allocations of a request are counted, not sampled: what differs, differs, and no interval is needed.

use std::collections::BTreeMap;

use carnot_record::AllocationSite;

/// Differences below this share of the baseline's bytes, and of its allocations, are not told.
const SMALL: f64 = 0.01;

/// A function that allocates, then and now.
#[derive(Clone, Debug, PartialEq)]
pub struct MovedSite {
    /// The function, and the file that it stands in: lines move with every change.
    pub site: String,
    /// How often and how many bytes, of a request.
    pub baseline: (f64, f64),
    /// The same now.
    pub current: (f64, f64),
    /// By how many bytes more, as a share of all of the baseline.
    pub share: f64,
}

/// Sites that moved, the one that allocates most bytes more or less first; none where a side has no sites.
pub fn moved_sites(baseline: &[AllocationSite], current: &[AllocationSite]) -> Vec<MovedSite> {
    if baseline.is_empty() || current.is_empty() {
        return Vec::new();
    }
    let (was, is) = (sums(baseline), sums(current));
    let (allocations, bytes) = was
        .values()
        .fold((0.0, 0.0), |(n, sum), one| (n + one.0, sum + one.1));
    let names: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let mut moved: Vec<MovedSite> = names
        .into_iter()
        .map(|site| {
            let of =
                |side: &BTreeMap<String, (f64, f64)>| side.get(site).copied().unwrap_or_default();
            let (baseline, current) = (of(&was), of(&is));
            MovedSite {
                site: site.clone(),
                baseline,
                current,
                share: (current.1 - baseline.1) / f64::max(bytes, 1.0),
            }
        })
        .filter(|one| {
            let more = (one.current.0 - one.baseline.0) / f64::max(allocations, 1.0);
            one.share.abs() >= SMALL || more.abs() >= SMALL
        })
        .collect();
    moved.sort_by(|one, other| other.share.abs().total_cmp(&one.share.abs()));
    moved
}

/// Allocations and bytes by function and file.
fn sums(sites: &[AllocationSite]) -> BTreeMap<String, (f64, f64)> {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for site in sites {
        let file = site
            .place
            .rsplit_once(':')
            .map_or(&*site.place, |(file, _)| file);
        let (allocations, bytes) = sums.entry(format!("{} {file}", site.function)).or_default();
        *allocations += site.allocations;
        *bytes += site.bytes;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(function: &str, line: u32, allocations: f64, bytes: f64) -> AllocationSite {
        AllocationSite {
            function: function.to_owned(),
            place: format!("src/lib.rs:{line}"),
            allocations,
            bytes,
            kept_bytes: 0.0,
        }
    }

    #[test]
    fn a_line_that_moved_is_no_difference_and_more_bytes_are() {
        let was = [site("a", 1, 10.0, 1_000.0), site("b", 2, 10.0, 1_000.0)];
        let moved_on = [site("a", 11, 10.0, 1_000.0), site("b", 12, 10.0, 1_000.0)];
        assert_eq!(moved_sites(&was, &moved_on), []);
        let is = [
            site("a", 1, 10.0, 1_000.0),
            site("b", 2, 4.0, 1_500.0),
            site("b", 3, 8.0, 1_000.0),
        ];
        let told = moved_sites(&was, &is);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].site, "b src/lib.rs");
        assert_eq!(
            (told[0].baseline, told[0].current),
            ((10.0, 1_000.0), (12.0, 2_500.0))
        );
        assert!((told[0].share - 0.75).abs() < 1e-12);
    }

    #[test]
    fn what_is_new_counts_and_what_was_not_tracked_does_not() {
        let was = [site("a", 1, 10.0, 1_000.0)];
        let is = [site("a", 1, 10.0, 1_000.0), site("new", 1, 100.0, 1.0)];
        assert_eq!(moved_sites(&was, &is)[0].site, "new src/lib.rs");
        assert_eq!(moved_sites(&was, &[]), []);
    }
}
