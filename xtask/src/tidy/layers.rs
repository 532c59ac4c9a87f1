//! Which crate may know which. Few crates that each know one thing; only the binary knows everyone.

use super::Finding;
use crate::workspace::Package;

/// A crate and those of ours that it may depend on, lower layers first. The rows of crates that are planned keep their place.
const LAYERS: [(&str, &[&str]); 23] = [
    ("carnot-probe", &[]),
    ("carnot-record", &[]),
    ("carnot-statistics", &[]),
    ("carnot-kernels", &[]),
    ("carnot-sampling", &[]),
    ("carnot-formats", &["carnot-kernels"]),
    ("carnot-engine", &[]),
    ("carnot-analyze", &["carnot-record", "carnot-statistics"]),
    ("carnot-samplers", &[]),
    ("carnot-tracing", &["carnot-probe"]),
    (
        "carnot-llm",
        &[
            "carnot-engine",
            "carnot-formats",
            "carnot-kernels",
            "carnot-probe",
        ],
    ),
    ("carnot-onnx", &["carnot-engine", "carnot-probe"]),
    ("carnot-cache", &["carnot-probe", "carnot-statistics"]),
    (
        "carnot-server",
        &[
            "carnot-engine",
            "carnot-cache",
            "carnot-analyze",
            "carnot-record",
            "carnot-probe",
        ],
    ),
    (
        "carnot-bench",
        &[
            "carnot-engine",
            "carnot-analyze",
            "carnot-record",
            "carnot-statistics",
        ],
    ),
    ("carnot-report", &["carnot-analyze", "carnot-record"]),
    (
        "carnot-session",
        &[
            "carnot-analyze",
            "carnot-probe",
            "carnot-record",
            "carnot-report",
            "carnot-samplers",
            "carnot-sampling",
        ],
    ),
    ("carnot-cli", ALL),
    (
        "carnot-python",
        &[
            "carnot-probe",
            "carnot-record",
            "carnot-session",
            "carnot-report",
            "carnot-engine",
            "carnot-formats",
            "carnot-llm",
        ],
    ),
    ("carnot-video-pipeline", ALL),
    ("carnot-conformance", ALL),
    ("carnot-fuzz", ALL),
    // Its own benchmarks are judged by the statistics of the product; nothing that takes long to build.
    ("xtask", &["carnot-record", "carnot-statistics"]),
];

/// Every crate of ours.
const ALL: &[&str] = &["*"];

/// Crates that stay so light that anyone may link them: nothing foreign either, but in their tests.
const ALONE: [&str; 2] = ["carnot-probe", "carnot-statistics"];

pub fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let name = package.name.as_str();
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
        let what = "not in the table of layers; add its row to xtask/src/tidy/layers.rs and to ARCHITECTURE.md";
        return vec![Finding::new(name, what)];
    };
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        let on = dependency.name.as_str();
        // A crate may ask itself for more features in its tests.
        let is_other = is_ours(on) && !(on == name && dependency.is_dev);
        if is_other && !allowed.contains(&"*") && !allowed.contains(&on) {
            findings.push(Finding::new(name, forbidden(name, on, allowed)));
        } else if ALONE.contains(&name) && !dependency.is_dev {
            let what = format!("{name} must stay without dependencies, and has {on}");
            findings.push(Finding::new(name, what));
        }
    }
    findings
}

fn is_ours(name: &str) -> bool {
    name.starts_with("carnot-") || name == "xtask"
}

fn forbidden(name: &str, on: &str, allowed: &[&str]) -> String {
    let may = match allowed {
        [] => "no other".to_owned(),
        allowed => allowed.join(", "),
    };
    format!("{name} must not depend on {on}; of ours it may know {may}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, on: &[&str], is_dev: bool) -> Package {
        let dependency = |name: &&str| Dependency {
            name: (*name).to_owned(),
            is_dev,
        };
        Package {
            name: name.to_owned(),
            dependencies: on.iter().map(dependency).collect(),
        }
    }

    fn findings(name: &str, on: &[&str]) -> Vec<String> {
        check(&[package(name, on, false)])
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn a_forbidden_edge_names_both_ends() {
        let found = findings("carnot-report", &["serde", "carnot-record", "carnot-llm"]);
        assert_eq!(
            found,
            [
                "carnot-report must not depend on carnot-llm; of ours it may know carnot-analyze, carnot-record"
            ]
        );
    }

    #[test]
    fn edges_of_tests_count() {
        let kernels = package("carnot-kernels", &["carnot-formats"], true);
        assert_eq!(check(&[kernels]).len(), 1);
    }

    #[test]
    fn the_binary_knows_everyone_and_allowed_edges_pass() {
        assert!(findings("carnot-cli", &["carnot-llm", "carnot-report"]).is_empty());
        assert!(findings("carnot-formats", &["carnot-kernels", "tokenizers"]).is_empty());
    }

    #[test]
    fn the_probe_stays_alone() {
        assert_eq!(findings("carnot-probe", &["libc"]).len(), 1);
        assert!(check(&[package("carnot-probe", &["proptest"], true)]).is_empty());
    }

    #[test]
    fn an_unknown_crate_is_asked_for_its_row() {
        assert!(findings("carnot-new", &[])[0].contains("layers.rs"));
    }

    #[test]
    fn the_table_is_in_the_order_of_the_layers() {
        for (index, (name, allowed)) in LAYERS.iter().enumerate() {
            let knows_later = LAYERS[index..]
                .iter()
                .any(|(later, _)| allowed.contains(later));
            assert!(
                !knows_later,
                "{name} knows a crate of its own or a higher row"
            );
        }
    }
}
