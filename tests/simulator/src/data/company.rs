//! Who there is in an account, and what they have.

use super::Actor;
use super::calendar::Calendar;
use super::names::{ELSEWHERE, FIRST, LAST, OFFICES, Place};
use crate::rng::Rng;

const PEOPLE: usize = 240;
const ADMINS: u64 = 8;
const SERVICES: usize = 12;
const VAULTS: usize = 60;
const GROUPS: usize = 24;

/// A few hundred people at work.
#[derive(Debug)]
pub(super) struct Company {
    pub(super) uuid: String,
    pub(super) integration: String,
    /// Administrators first.
    pub(super) people: Vec<Person>,
    /// Service accounts and the bridge that provisions people.
    pub(super) services: Vec<Person>,
    pub(super) vaults: Vec<Vault>,
    pub(super) groups: Vec<String>,
}

/// How a user appears in events.
#[derive(Debug)]
pub(super) struct User {
    pub(super) uuid: String,
    pub(super) email: String,
    /// `{"uuid":…,"name":…,"email":…`, without the closing brace.
    pub(super) details: String,
    /// What v2 adds before the brace; empty for most.
    pub(super) v2_details: &'static str,
    /// Set for people of another account.
    pub(super) home_account: Option<&'static str>,
}

/// A person, or a machine with an account.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) user: User,
    pub(super) office: &'static Place,
    pub(super) devices: Vec<Device>,
}

#[derive(Debug)]
pub(super) struct Device {
    pub(super) uuid: String,
    pub(super) ip: String,
    /// The `client` object.
    pub(super) client: String,
}

#[derive(Debug)]
pub(super) struct Vault {
    pub(super) uuid: String,
    pub(super) items: Vec<String>,
}

impl Company {
    /// Sets up account number `index`.
    pub(super) fn found(index: usize, rng: &mut Rng) -> Self {
        let domain = match index {
            0 => "acme.example".to_owned(),
            1 => "globex.example".to_owned(),
            more => format!("company{more}.example"),
        };
        let people = (0..PEOPLE).map(|nth| person(nth, &domain, rng)).collect();
        let services = (0..SERVICES).map(|nth| service(nth, rng)).collect();
        let vaults = (0..VAULTS)
            .map(|_| Vault {
                uuid: rng.lower_id(),
                items: (0..10 + rng.below(190)).map(|_| rng.lower_id()).collect(),
            })
            .collect();
        let groups = (0..GROUPS).map(|_| rng.lower_id()).collect();
        Self { uuid: rng.upper_id(), integration: rng.upper_id(), people, services, vaults, groups }
    }

    pub(super) fn any_service(&self, rng: &mut Rng) -> Actor {
        Actor::Service(u16::try_from(rng.index(self.services.len())).unwrap_or_default())
    }

    pub(super) fn any_vault(&self, rng: &mut Rng) -> u16 {
        u16::try_from(rng.index(self.vaults.len())).unwrap_or_default()
    }

    pub(super) fn who(&self, actor: Actor) -> &Person {
        match actor {
            Actor::Person(index) => &self.people[usize::from(index)],
            Actor::Service(index) => &self.services[usize::from(index)],
        }
    }

    /// A time at which `actor` may do something.
    pub(super) fn time(&self, actor: Actor, calendar: &Calendar, rng: &mut Rng) -> i64 {
        match actor {
            Actor::Person(_) => calendar.working_time(self.who(actor).office.offset, rng),
            Actor::Service(_) => calendar.machine_time(rng),
        }
    }
}

/// Draws a person, some much oftener than others.
pub(super) fn any_person(rng: &mut Rng) -> Actor {
    let (one, other) = (rng.below(PEOPLE as u64), rng.below(PEOPLE as u64));
    Actor::Person(u16::try_from(one * other / PEOPLE as u64).unwrap_or_default())
}

/// Draws an administrator.
pub(super) fn any_admin(rng: &mut Rng) -> Actor {
    Actor::Person(u16::try_from(rng.below(ADMINS)).unwrap_or_default())
}

fn person(nth: usize, domain: &str, rng: &mut Rng) -> Person {
    let (first, first_ascii) = rng.pick(&FIRST);
    let (last, last_ascii) = rng.pick(&LAST);
    let office = &OFFICES[rng.index(OFFICES.len()).min(rng.index(OFFICES.len()))];
    let external = nth >= 20 && nth.is_multiple_of(40);
    let domain = if external { "msp.example" } else { domain };
    // The number keeps apart people of one name.
    let email = format!("{first_ascii}.{last_ascii}{nth}@{domain}");
    let mut user = user(rng.upper_id(), &format!("{first} {last}"), email);
    if external {
        user.home_account = Some("MSPACCT7ZQ2LWXV4KHN5RBTDSE");
        user.v2_details =
            r#","user_type":"external_user","user_account_uuid":"MSPACCT7ZQ2LWXV4KHN5RBTDSE""#;
    } else if nth % 30 == 7 {
        // Seen in the field instead of the documented name.
        user.v2_details = r#","type":"user""#;
    } else if nth % 30 == 9 {
        user.v2_details = r#","user_type":"user""#;
    }

    let ip = ip_address(nth, rng);
    let host = format!("{}-{}", first_ascii.to_ascii_uppercase(), nth);
    let devices = (0..=rng.index(3)).map(|_| device(&host, &ip, rng)).collect();
    Person { user, office, devices }
}

fn user(uuid: String, name: &str, email: String) -> User {
    let details = format!(r#"{{"uuid":"{uuid}","name":"{name}","email":"{email}""#);
    User { uuid, email, details, v2_details: "", home_account: None }
}

/// Addresses of the ranges set aside for documentation.
fn ip_address(nth: usize, rng: &mut Rng) -> String {
    let host = 1 + rng.below(254);
    match nth % 8 {
        0 => format!("2001:db8:{:x}::{host:x}", rng.below(0x1_0000)),
        1..4 => format!("198.51.100.{host}"),
        4 => format!("192.0.2.{host}"),
        _ => format!("203.0.113.{host}"),
    }
}

fn device(host: &str, ip: &str, rng: &mut Rng) -> Device {
    let mac = ("MacOSX", "15.1.1");
    let windows = ("Windows", "11");
    let (app, app_version, platform, platform_version, os) = match rng.below(12) {
        0..2 => ("1Password Extension", "81212005", "Chrome", "131.0.6778.86", mac),
        2 => ("1Password Extension", "81212005", "Firefox", "132.0", ("Linux", "6.8.0")),
        3 => ("1Password Browser Extension", "20240", "Edge extension", "131.0.2903.63", windows),
        4 => ("1Password Browser Extension", "81210036", "Chrome extension", "130.0.6723.117", mac),
        5..7 => ("1Password for Mac", "81052010", host, "MacBookPro18,3", mac),
        7..9 => ("1Password for Windows", "81054025", host, "Latitude 7440", windows),
        9 => ("1Password for Web", "1883", "Safari", "18.1", mac),
        10 => ("1Password for Android", "81054012", "Pixel 9", "15", ("Android", "15")),
        _ => ("1Password for iOS", "81054010", "iPhone", "iPhone16,2", ("iOS", "18.1")),
    };
    client([app, app_version, platform, platform_version], os, ip, rng)
}

fn service(nth: usize, rng: &mut Rng) -> Person {
    const NAMES: [&str; SERVICES] = [
        "deploy-bot",
        "ci-runner",
        "terraform",
        "backup",
        "k8s-operator",
        "grafana",
        "release",
        "nightly-scan",
        "data-sync",
        "mailer",
        "staging",
        "SCIM Bridge",
    ];
    let name = NAMES[nth % SERVICES];
    let email = format!("{}@1passwordserviceaccounts.com", &rng.lower_id()[..8]);
    let ip = ip_address(nth + 1, rng);
    let linux = ("Linux", "6.8.0");
    let client = if name == "SCIM Bridge" {
        client(["1Password SCIM Bridge", "20908", "op-scim-bridge-0", "amd64"], linux, &ip, rng)
    } else {
        let host = format!("ci-runner-{nth:02}");
        client(["1Password CLI", "2030001", &host, "amd64"], linux, &ip, rng)
    };
    let office = &OFFICES[0];
    Person { user: user(rng.upper_id(), name, email), office, devices: vec![client] }
}

fn client(
    [app, app_version, platform, platform_version]: [&str; 4],
    (os, os_version): (&str, &str),
    ip: &str,
    rng: &mut Rng,
) -> Device {
    let client = format!(
        r#"{{"app_name":"{app}","app_version":"{app_version}","platform_name":"{platform}","platform_version":"{platform_version}","os_name":"{os}","os_version":"{os_version}","ip_address":"{ip}"}}"#
    );
    Device { uuid: rng.lower_id(), ip: ip.to_owned(), client }
}

impl Place {
    /// The `location` object. The service writes a country sometimes as a name
    /// and sometimes as a code.
    pub(super) fn location(&self, rng: &mut Rng) -> String {
        let country = if rng.chance(300) { self.code } else { self.country };
        let Self { region, city, latitude, longitude, .. } = self;
        format!(
            r#"{{"country":"{country}","region":"{region}","city":"{city}","latitude":{latitude},"longitude":{longitude}}}"#
        )
    }

    /// A place where nobody of the company works.
    pub(super) fn elsewhere(rng: &mut Rng) -> &'static Self {
        rng.pick(&ELSEWHERE)
    }
}
