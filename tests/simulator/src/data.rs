//! The generated history of an account.
//!
//! Everything is drawn from the seed, in one pass over one timeline, so that a
//! sign-in and the audit events of its session agree with each other.

mod audit;
mod calendar;
mod company;
mod item;
mod names;
mod signin;
mod stamp;
mod usage;

use jiff::Timestamp;

use self::calendar::Calendar;
use self::company::Company;
use self::item::Item;
use self::stamp::Stamp;
use crate::feed::Feed;
use crate::options::{Counts, Options};
use crate::rng::Rng;
use crate::store::{Incoming, Store};

/// Bytes set aside per event; the average is a little less.
const EVENT_BYTES: usize = 640;

/// A company's account and what happened in it.
#[derive(Debug)]
pub(crate) struct Generated {
    /// The account's uuid.
    pub(crate) uuid: String,
    /// The uuid of its Events Reporting integration.
    pub(crate) integration: String,
    /// By feed.
    pub(crate) stores: [Store; 3],
}

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Actor {
    Person(u16),
    Service(u16),
}

/// Something that is going to happen.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Nanoseconds since the epoch.
    ns: i64,
    feed: Feed,
    actor: Actor,
    /// What exactly: a row of the feed's table.
    row: u16,
    /// The vault that is exported, if this is part of a bulk export.
    export: Option<u16>,
}

/// The last successful sign-in of a person.
#[derive(Debug, Clone)]
struct Session {
    uuid: [u8; 26],
    login: Stamp,
    device: usize,
}

/// What the writers of all three feeds share.
#[derive(Debug)]
struct World {
    company: Company,
    /// By person.
    sessions: Vec<Option<Session>>,
    rng: Rng,
}

/// Generates account number `index`.
pub(crate) fn generate(index: usize, options: &Options) -> Generated {
    let mut rng = Rng::new(options.seed.wrapping_add((index as u64) << 32));
    let company = Company::found(index, &mut rng);
    let slots = timeline(&company, options, &mut rng);

    let counts = options.events;
    let mut stores = Feed::ALL.map(|feed| {
        let events = counts.get(feed);
        Store::new(options.sort, events, events * EVENT_BYTES)
    });
    let sessions = vec![None; company.people.len()];
    let mut world = World { company, sessions, rng };
    for slot in slots {
        let stamp = Stamp::draw(slot.ns, &mut world.rng);
        let uuid = world.rng.id();
        let store = &mut stores[slot.feed.index()];
        let out = store.writer();
        let start = out.len();
        let mut item = Item::begin(out);
        item.id("uuid", &uuid);
        let v2_only = match slot.feed {
            Feed::SignInAttempts => signin::write(item, &mut world, slot, &stamp),
            Feed::ItemUsages => usage::write(item, &mut world, slot, &stamp),
            Feed::AuditEvents => audit::write(item, &mut world, slot, &stamp),
        };
        let at = stamp.timestamp();
        let visible_at = if options.late_arrivals {
            nanosecond(stamp.ns() + delay(slot.feed, &mut world.rng))
        } else {
            at
        };
        let uuid = str::from_utf8(&uuid).unwrap_or_default();
        store.add_written(&Incoming { uuid, at, visible_at, v2_only }, start);
    }
    let Company { uuid, integration, .. } = world.company;
    Generated { uuid, integration, stores }
}

/// Draws who does what when, in the order of time.
fn timeline(company: &Company, options: &Options, rng: &mut Rng) -> Vec<Slot> {
    let Counts { sign_in_attempts, item_usages, audit_events } = options.events;
    let calendar = Calendar::new(options.now, options.days, options.days_ahead);
    let mut slots = Vec::with_capacity(sign_in_attempts + item_usages + audit_events);

    for nth in 0..sign_in_attempts {
        let row = signin::row(nth, sign_in_attempts, rng);
        let actor = if signin::is_for_services(row) || rng.chance(60) {
            company.any_service(rng)
        } else {
            company::any_person(rng)
        };
        let ns = company.time(actor, &calendar, rng);
        slots.push(Slot { ns, feed: Feed::SignInAttempts, actor, row, export: None });
    }

    for nth in 0..audit_events {
        let row = audit::row(nth, audit_events, rng);
        let actor = audit::actor(row, company, rng);
        let ns = company.time(actor, &calendar, rng);
        slots.push(Slot { ns, feed: Feed::AuditEvents, actor, row, export: None });
    }

    // A bulk export is one event for each item of a vault, milliseconds apart:
    // some 3 % of all item usages come in such bursts.
    let mut exported = 0;
    while item_usages >= 2000 && exported < item_usages * 3 / 100 {
        let actor = company::any_person(rng);
        let mut ns = company.time(actor, &calendar, rng);
        let export = company.any_vault(rng);
        let burst = 200 + rng.index(item_usages.min(20_000) / 10);
        for _ in 0..burst.min(item_usages - exported) {
            let row = usage::EXPORT;
            slots.push(Slot { ns, feed: Feed::ItemUsages, actor, row, export: Some(export) });
            ns += i64::try_from(rng.below(6_000_000)).unwrap_or_default();
        }
        exported += burst.min(item_usages - exported);
    }
    for nth in exported..item_usages {
        let row = usage::row(nth - exported, item_usages - exported, rng);
        let actor = if usage::is_for_services(row) {
            company.any_service(rng)
        } else {
            company::any_person(rng)
        };
        let ns = company.time(actor, &calendar, rng);
        slots.push(Slot { ns, feed: Feed::ItemUsages, actor, row, export: None });
    }

    // Some things happen in the very same millisecond.
    for nth in 1..slots.len() {
        if slots[nth].feed == slots[nth - 1].feed && rng.chance(5) {
            slots[nth].ns = slots[nth - 1].ns;
        }
    }
    // A burst may run past the end.
    let last = calendar.last_ns();
    for slot in &mut slots {
        slot.ns = slot.ns.min(last);
    }
    slots.sort_by_key(|slot| slot.ns);
    slots
}

/// How long after it happened an event becomes visible, in nanoseconds.
fn delay(feed: Feed, rng: &mut Rng) -> i64 {
    const SECOND: u64 = 1_000_000_000;
    let longest = match (feed, rng.below(1000)) {
        // Clients report item usages when they next sync.
        (Feed::ItemUsages, 0..10) => 72 * 3600 * SECOND,
        (Feed::ItemUsages, 10..60) => 6 * 3600 * SECOND,
        (Feed::ItemUsages, 60..200) => 15 * 60 * SECOND,
        (Feed::ItemUsages, _) => 60 * SECOND,
        (_, 0..5) => 10 * 60 * SECOND,
        _ => 5 * SECOND,
    };
    i64::try_from(rng.below(longest)).unwrap_or_default()
}

/// Row of a table that every row of which must occur: the first slots take the
/// rows in turn, as long as they are a small part of all.
fn covering(nth: usize, of: usize, rows: usize) -> Option<u16> {
    (nth < rows && rows * 4 <= of).then(|| u16::try_from(nth).unwrap_or_default())
}

fn nanosecond(ns: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;
    use crate::oracle::Known;

    fn options(total: usize) -> Options {
        Options { events: Counts::of_total(total), ..Options::default() }
    }

    fn events(options: &Options) -> [Vec<Known>; 3] {
        generate(0, options).stores.map(|store| store.known())
    }

    fn parsed(feed: Feed, options: &Options) -> Vec<Value> {
        let known = &events(options)[feed.index()];
        known.iter().map(|known| serde_json::from_slice(&known.bytes).unwrap()).collect()
    }

    fn values(events: &[Value], key: &str) -> BTreeSet<String> {
        events.iter().filter_map(|event| event[key].as_str()).map(str::to_owned).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        assert_eq!(events(&options(2000)), events(&options(2000)));
        assert_ne!(events(&options(2000)), events(&Options { seed: 2, ..options(2000) }));
    }

    #[test]
    fn every_event_is_json_with_its_own_uuid_and_position() {
        let options = Options { late_arrivals: true, ..options(10_000) };
        let mut uuids = BTreeSet::new();
        for (feed, known) in Feed::ALL.into_iter().zip(events(&options)) {
            assert_eq!(known.len(), options.events.get(feed));
            for event in known {
                let json: Value = serde_json::from_slice(&event.bytes).unwrap();
                assert_eq!(json["uuid"], event.uuid.as_str());
                let timestamp: Timestamp = json["timestamp"].as_str().unwrap().parse().unwrap();
                assert_eq!(timestamp, event.timestamp);
                assert!(event.visible_at >= event.timestamp);
                assert!(uuids.insert(event.uuid));
                assert!(!event.bytes.contains(&b'\n'));
            }
        }
    }

    #[test]
    fn every_documented_value_occurs_and_a_few_unknown_ones() {
        let options = options(10_000);
        let sign_ins = parsed(Feed::SignInAttempts, &options);
        let usages = parsed(Feed::ItemUsages, &options);
        let audits = parsed(Feed::AuditEvents, &options);

        // 31 types, a known misspelling of one, and one from the future.
        assert_eq!(values(&sign_ins, "type").len(), 33);
        assert_eq!(values(&sign_ins, "category").len(), 7 + 1);
        assert_eq!(values(&usages, "action").len(), 11 + 1);
        assert_eq!(values(&audits, "action").len(), 79 + 1);
        assert_eq!(values(&audits, "object_type").len(), 30 + 1);
        assert_eq!(values(&audits, "actor_type").len(), 2);
    }

    #[test]
    fn optional_fields_are_sometimes_absent() {
        let options = options(20_000);
        for (feed, keys) in [
            (Feed::SignInAttempts, &["details", "location", "session_uuid", "account_uuid"][..]),
            (Feed::ItemUsages, &["action", "location", "account_uuid"]),
            (Feed::AuditEvents, &["session", "location", "aux_uuid", "object_details"]),
        ] {
            let events = parsed(feed, &options);
            for key in keys {
                let present = events.iter().filter(|event| event.get(key).is_some()).count();
                assert!((1..events.len()).contains(&present), "{feed} {key}: {present}");
            }
        }
    }

    #[test]
    fn timestamps_have_zero_to_nine_digits_and_some_an_offset() {
        let events = parsed(Feed::ItemUsages, &options(20_000));
        let mut digits = BTreeMap::<usize, usize>::new();
        let mut offsets = 0;
        for event in &events {
            let text = event["timestamp"].as_str().unwrap();
            let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
            let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
            *digits.entry(length).or_default() += 1;
            offsets += usize::from(!text.ends_with('Z'));
        }

        assert_eq!(digits.keys().copied().collect::<Vec<_>>(), (0..=9).collect::<Vec<_>>());
        assert!(offsets > 0 && offsets * 20 < events.len());
    }

    #[test]
    fn sessions_of_audit_events_are_sign_ins_that_succeeded() {
        let options = options(20_000);
        let sign_ins = parsed(Feed::SignInAttempts, &options);
        let logins: BTreeMap<_, _> = sign_ins
            .iter()
            .filter_map(|event| Some((event["session_uuid"].as_str()?, &event["timestamp"])))
            .collect();
        let audits = parsed(Feed::AuditEvents, &options);

        let mut seen = 0;
        for session in audits.iter().filter_map(|event| event.get("session")) {
            assert_eq!(&session["login_time"], logins[session["uuid"].as_str().unwrap()]);
            seen += 1;
        }
        assert!(seen * 2 > audits.len(), "{seen} of {}", audits.len());
    }

    #[test]
    fn people_work_on_weekdays_and_exports_come_in_bursts() {
        let options = options(20_000);
        let usages = &events(&options)[Feed::ItemUsages.index()];
        let weekend = usages.iter().filter(|event| {
            let at = event.timestamp.to_zoned(jiff::tz::TimeZone::UTC);
            matches!(at.weekday(), jiff::civil::Weekday::Saturday | jiff::civil::Weekday::Sunday)
        });
        assert!(weekend.count() * 5 < usages.len());

        let busiest = usages
            .windows(200)
            .map(|events| events[199].timestamp.duration_since(events[0].timestamp))
            .min();
        assert!(busiest.unwrap().as_secs() < 5);
        let ties = usages.windows(2).filter(|pair| {
            pair[0].timestamp.as_millisecond() == pair[1].timestamp.as_millisecond()
        });
        assert!(ties.count() > 10);
    }

    #[test]
    fn few_events_are_generated_too() {
        for total in [0, 1, 7, 100] {
            let generated = events(&Options { days: 0, ..options(total) });
            assert_eq!(generated.iter().map(Vec::len).sum::<usize>(), total);
        }
    }
}
