//! What is made to go wrong, and when.

use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::feed::Feed;
use crate::lock;
use crate::options::ErrorStyle;
use crate::rng::Rng;

/// Requests to treat badly. Only API paths are matched, not the control plane.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The feed asked for; `None` is any path, introspection included.
    #[serde(default)]
    pub feed: Option<Feed>,
    /// A part of the path; `None` is any.
    #[serde(default)]
    pub path: Option<String>,
    /// Which of the matching requests.
    pub when: When,
    /// What happens to them.
    pub effect: Effect,
}

impl Rule {
    /// A rule for any path.
    #[must_use]
    pub const fn new(when: When, effect: Effect) -> Self {
        Self { feed: None, path: None, when, effect }
    }

    /// Limits the rule to one feed.
    #[must_use]
    pub const fn feed(mut self, feed: Feed) -> Self {
        self.feed = Some(feed);
        self
    }

    /// Limits the rule to paths that contain `part`.
    #[must_use]
    pub fn path(mut self, part: impl Into<String>) -> Self {
        self.path = Some(part.into());
        self
    }
}

/// Which of a rule's matching requests are affected, counted from when the rule
/// was added.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Only the one of this number, the first being 1.
    Nth(u64),
    /// This many, from the first.
    Next(u64),
    /// All of them, until the rules are cleared.
    Always,
    /// Each with this probability, from 0 to 1, drawn from the seed.
    Chance(f64),
}

/// What happens to a request. Durations are real time, and milliseconds on the
/// control plane.
///
/// The effects on pages happen only where there would have been a page. None of
/// them lets a client lose events if it keeps the last good cursor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Answered with an error.
    Status {
        /// HTTP status code.
        status: u16,
        /// Shape of the body; `None` is the usual one of the path.
        #[serde(default)]
        style: Option<ErrorStyle>,
        /// The `Retry-After` header, word for word.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// Answered with a redirect to this URL.
    Redirect(String),
    /// The connection is reset before an answer.
    Reset,
    /// The announced length is right, but only half the body comes.
    CutBody,
    /// The whole answer is held back.
    SlowHeaders(#[serde(deserialize_with = "millis")] Duration),
    /// The body comes in pieces over this time.
    SlowBody(#[serde(deserialize_with = "millis")] Duration),
    /// 200 and a page for people.
    Html,
    /// 200 and half of the JSON, as if it were whole.
    TruncatedJson,
    /// A page without items that says there is more. The cursor is the one sent
    /// or, if it `moves`, another for the same position.
    EmptyPage {
        /// Whether the cursor differs from the one sent.
        moves: bool,
    },
    /// As [`EmptyPage`](Self::EmptyPage), with `"items":null` and a true
    /// `has_more` only if there is more.
    NullItems,
    /// The same without `items`.
    NoItems,
    /// A page without its cursor.
    NoCursor,
    /// A page without `has_more`.
    NoHasMore,
    /// 400 for a good cursor. Requests without a cursor do not match.
    BadCursor,
    /// The page begins this many events before its cursor.
    Rewind(usize),
    /// The page's last item comes twice.
    DuplicateItem,
}

fn millis<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_millis)
}

/// The rules in force.
#[derive(Debug)]
pub struct Faults(Mutex<State>);

#[derive(Debug)]
struct State {
    rules: Vec<(Rule, u64)>,
    rng: Rng,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(State { rules: Vec::new(), rng: Rng::new(seed ^ 0x66_61_75_6C_74) }))
    }

    /// Adds a rule. If several affect a request, the earliest does; the others
    /// have counted it all the same.
    pub fn add(&self, rule: Rule) {
        lock(&self.0).rules.push((rule, 0));
    }

    /// Removes every rule.
    pub fn clear(&self) {
        lock(&self.0).rules.clear();
    }

    /// The effect on a request, which is hereby counted.
    pub(crate) fn strike(
        &self,
        path: &str,
        feed: Option<Feed>,
        has_cursor: bool,
    ) -> Option<Effect> {
        let State { rules, rng } = &mut *lock(&self.0);
        let mut struck = None;
        for (rule, seen) in rules {
            let matches = rule.feed.is_none_or(|wanted| feed == Some(wanted))
                && rule.path.as_deref().is_none_or(|part| path.contains(part))
                && (has_cursor || rule.effect != Effect::BadCursor);
            if !matches {
                continue;
            }
            *seen += 1;
            let strikes = match rule.when {
                When::Nth(number) => *seen == number,
                When::Next(count) => *seen <= count,
                When::Always => true,
                When::Chance(chance) => rng.unit() < chance,
            };
            if strikes && struck.is_none() {
                struck = Some(rule.effect.clone());
            }
        }
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_the_requests_they_match() {
        let faults = Faults::new(1);
        let audit = Some(Feed::AuditEvents);
        faults.add(Rule::new(When::Nth(2), Effect::Reset).feed(Feed::AuditEvents));
        faults.add(Rule::new(When::Next(1), Effect::Html).path("introspect"));

        let path = "/api/v2/auditevents";
        assert_eq!(faults.strike(path, audit, false), None);
        assert_eq!(faults.strike("/api/v2/auth/introspect", None, false), Some(Effect::Html));
        assert_eq!(faults.strike(path, audit, false), Some(Effect::Reset));
        assert_eq!(faults.strike(path, audit, false), None);
        assert_eq!(faults.strike("/api/v2/auth/introspect", None, false), None);
    }

    #[test]
    fn the_same_seed_strikes_the_same_requests() {
        let draw = |seed| {
            let faults = Faults::new(seed);
            faults.add(Rule::new(When::Chance(0.5), Effect::Reset));
            (0..64).map(|_| faults.strike("/", None, false).is_some()).collect::<Vec<_>>()
        };

        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        assert!((16..48).contains(&draw(3).iter().filter(|struck| **struck).count()));
    }

    #[test]
    fn rules_can_be_written_as_json() {
        let rule: Rule = serde_json::from_str(
            r#"{"feed":"itemusages","when":{"next":3},"effect":{"slow_body":1500}}"#,
        )
        .unwrap();

        let effect = Effect::SlowBody(Duration::from_millis(1500));
        assert_eq!(rule, Rule::new(When::Next(3), effect).feed(Feed::ItemUsages));
    }
}
