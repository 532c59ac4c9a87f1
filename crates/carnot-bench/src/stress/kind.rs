//! What clients do, in which proportion, and what a server owes them.

/// A kind of visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request that is read to its end.
    Ordinary,
    /// Several of them in the same moment.
    Burst,
    /// Several that leave in the middle of the answer, or before it.
    Storm,
    /// Reads a byte now and then.
    SlowReader,
    /// A body that is cut in the middle of the JSON.
    BrokenJson,
    /// JSON with values that the fields cannot have.
    WrongTypes,
    /// More headers than anybody needs.
    HugeHeaders,
    /// Announces more than it sends, and leaves.
    HalfRequest,
    /// A prompt that is larger than the model's context.
    Oversize,
}

impl Kind {
    /// In the order of reports.
    pub const ALL: [Self; 9] = [
        Self::Ordinary,
        Self::Burst,
        Self::Storm,
        Self::SlowReader,
        Self::BrokenJson,
        Self::WrongTypes,
        Self::HugeHeaders,
        Self::HalfRequest,
        Self::Oversize,
    ];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Burst => "burst of 6",
            Self::Storm => "6 that leave",
            Self::SlowReader => "slow reader",
            Self::BrokenJson => "broken JSON",
            Self::WrongTypes => "wrong types",
            Self::HugeHeaders => "huge headers",
            Self::HalfRequest => "half a request",
            Self::Oversize => "oversize prompt",
        }
    }

    /// What is to come of it, in words.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Ordinary | Self::Burst | Self::SlowReader => "an answer to its end",
            Self::Storm => "an answer begun, or none yet",
            Self::BrokenJson | Self::WrongTypes => "status 400 or 422",
            Self::HugeHeaders => "status 400 or 431, or closed",
            Self::HalfRequest => "a status from 400, or closed",
            Self::Oversize => "status 400 or 413",
        }
    }

    /// Of a hundred visits, so many are of this kind.
    fn weight(self) -> u32 {
        match self {
            Self::Ordinary => 62,
            Self::Burst | Self::BrokenJson | Self::WrongTypes | Self::Oversize => 5,
            Self::Storm => 6,
            Self::SlowReader | Self::HugeHeaders | Self::HalfRequest => 4,
        }
    }

    /// Whether a server owes it an answer.
    pub fn is_well_formed(self) -> bool {
        matches!(self, Self::Ordinary | Self::Burst)
    }

    /// Requests of a visit.
    pub(super) fn at_once(self) -> usize {
        match self {
            Self::Burst | Self::Storm => 6,
            _ => 1,
        }
    }

    /// The same on average over the kinds as they come.
    pub(super) fn requests_of_a_visit() -> f64 {
        let requests = |kind: Self| f64::from(kind.weight()) * kind.at_once() as f64;
        let all: u32 = Self::ALL.map(Self::weight).iter().sum();
        Self::ALL.map(requests).iter().sum::<f64>() / f64::from(all)
    }

    /// The kind that a number in 0..1 stands for.
    pub(super) fn drawn(chance: f64) -> Self {
        let mut left = chance * f64::from(Self::ALL.map(Self::weight).iter().sum::<u32>());
        let reached = |kind: &Self| {
            left -= f64::from(kind.weight());
            left < 0.0
        };
        Self::ALL
            .into_iter()
            .find(reached)
            .unwrap_or(Self::Ordinary)
    }

    /// Whether the status that came, if any did, is one of those that are owed; `is_whole` says whether the answer came to its end.
    pub(super) fn judge(self, status: Option<u16>, is_whole: bool) -> Result<(), String> {
        let is_as_expected = match (self, status) {
            (Self::Ordinary | Self::Burst | Self::SlowReader, Some(200)) => is_whole,
            (Self::Storm, None | Some(200)) => true,
            (Self::BrokenJson | Self::WrongTypes, Some(status)) => matches!(status, 400 | 422),
            (Self::HugeHeaders, status) => matches!(status, None | Some(400 | 431)),
            (Self::HalfRequest, status) => status.is_none_or(|status| (400..500).contains(&status)),
            (Self::Oversize, Some(status)) => matches!(status, 400 | 413),
            _ => false,
        };
        if is_as_expected {
            return Ok(());
        }
        Err(match status {
            None => "closed without an answer".to_owned(),
            Some(200) => "an answer without its end".to_owned(),
            Some(status) => format!("status {status}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_in_its_proportion() {
        let drawn: Vec<Kind> = (0..1000).map(|n| Kind::drawn(f64::from(n) / 1e3)).collect();
        let all: u32 = Kind::ALL.map(Kind::weight).iter().sum();
        assert_eq!(all, 100);
        assert_eq!(Kind::requests_of_a_visit(), 1.55);
        for kind in Kind::ALL {
            let count = drawn.iter().filter(|of| **of == kind).count() as u32;
            assert_eq!(count, 10 * kind.weight(), "{kind:?}");
        }
    }

    #[test]
    fn each_is_judged_by_what_it_is_owed() {
        assert!(Kind::Ordinary.judge(Some(200), true).is_ok());
        assert!(Kind::Ordinary.judge(Some(200), false).is_err());
        assert!(Kind::Ordinary.judge(Some(503), true).is_err());
        assert!(Kind::Storm.judge(Some(200), false).is_ok());
        assert!(Kind::SlowReader.judge(Some(200), false).is_err());
        for kind in Kind::ALL {
            assert!(
                kind.judge(Some(500), false).is_err(),
                "{kind:?} is owed no error of the server"
            );
        }
        for kind in [Kind::BrokenJson, Kind::WrongTypes, Kind::Oversize] {
            assert!(kind.judge(Some(400), false).is_ok(), "{kind:?}");
            assert!(
                kind.judge(Some(200), true).is_err(),
                "{kind:?} is no request"
            );
            assert!(kind.judge(None, false).is_err(), "{kind:?} is told why");
        }
    }
}
