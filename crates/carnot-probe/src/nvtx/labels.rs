//! What a range is called, and its colour.

use crate::site::{Kind, SiteInfo};

/// Colours as alpha, red, green, blue.
const RED: u32 = 0xffff_0000;
const PURPLE: u32 = 0xff80_0080;
const GREEN: u32 = 0xff00_ff00;
const BLUE: u32 = 0xff00_00ff;
const YELLOW: u32 = 0xffff_ff00;
const ORANGE: u32 = 0xffff_a500;
const CYAN: u32 = 0xff00_ffff;

/// A name, its colour, and the parts of spans' names by which it is known.
type Known = (&'static str, u32, &'static [&'static str]);

const STAGES: [Known; 2] = [
    ("Prefill_Stage", RED, &["prefill"]),
    ("Decode_Stage", PURPLE, &["decode"]),
];

/// The first that fits counts: a cache of keys and values belongs to attention, and communication to whatever it serves.
const PARTS: [Known; 5] = [
    (
        "AllReduce_Communication",
        ORANGE,
        &["all_reduce", "allreduce"],
    ),
    ("AllToAll_Communication", CYAN, &["all_to_all", "alltoall"]),
    ("KV_Cache_Update", YELLOW, &["kv_cache", "rope and store"]),
    ("Attention", GREEN, &["attention", "attn", "qkv"]),
    ("FeedForward", BLUE, &["feed_forward", "ffn", "mlp", "gate"]),
];

/// The name of a site's ranges, and their colour where it is one of those that have one.
pub fn label(site: &SiteInfo) -> (&str, Option<u32>) {
    let name = site.name.to_lowercase().replace('-', "_");
    if matches!(site.kind, Kind::Phase | Kind::Stage)
        && let Some((label, colour, _)) =
            STAGES.iter().find(|(_, _, is)| is.contains(&name.as_str()))
    {
        return (label, Some(*colour));
    }
    let is_part = matches!(
        site.kind,
        Kind::Layer
            | Kind::OperationInt8
            | Kind::OperationF32
            | Kind::Wait
            | Kind::Stage
            | Kind::Other
    );
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let known = PARTS.iter().find(|(_, _, parts)| is_part && has(parts));
    match known {
        Some((label, colour, _)) => (label, Some(*colour)),
        None if is_part && name.ends_with(" down") => ("FeedForward", Some(BLUE)),
        None => (&site.name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, kind: Kind, expected: (&str, Option<u32>)) {
        let site = SiteInfo {
            name: name.to_owned(),
            kind,
            file: "",
            line: 0,
        };
        assert_eq!(label(&site), expected, "{name}");
    }

    #[test]
    fn the_seven_have_their_names_and_colours() {
        check("prefill", Kind::Phase, ("Prefill_Stage", Some(RED)));
        check("decode", Kind::Phase, ("Decode_Stage", Some(PURPLE)));
        check("attention", Kind::OperationF32, ("Attention", Some(GREEN)));
        check(
            "matmul q8_0 gate_up",
            Kind::OperationInt8,
            ("FeedForward", Some(BLUE)),
        );
        check(
            "matmul q4_k down",
            Kind::OperationInt8,
            ("FeedForward", Some(BLUE)),
        );
        check(
            "rope and store",
            Kind::OperationF32,
            ("KV_Cache_Update", Some(YELLOW)),
        );
        check(
            "all-reduce of attention",
            Kind::Wait,
            ("AllReduce_Communication", Some(ORANGE)),
        );
        check(
            "all_to_all",
            Kind::Stage,
            ("AllToAll_Communication", Some(CYAN)),
        );
    }

    #[test]
    fn others_keep_their_name() {
        check("vae_decode", Kind::Stage, ("vae_decode", None));
        check("down", Kind::Block, ("down", None));
        check("add", Kind::OperationF32, ("add", None));
    }
}
