//! Sign-in attempts.

use super::item::Item;
use super::names::Place;
use super::stamp::Stamp;
use super::{Actor, Session, Slot, World, covering};
use crate::rng::Rng;
use crate::store::Cut;

/// How often, category and type. The order of rows is part of the generated
/// data.
const TABLE: [(u32, (&str, &str)); 39] = [
    (5200, ("success", "credentials_ok")),
    (3200, ("success", "mfa_ok")),
    (600, ("success", "federated")),
    (420, ("credentials_failed", "password_secret_bad")),
    (60, ("mfa_failed", "mfa_missing")),
    (60, ("mfa_failed", "totp_bad")),
    (6, ("mfa_failed", "totp_disabled")),
    (25, ("mfa_failed", "totp_timeout")),
    (20, ("mfa_failed", "u2f_bad")),
    (5, ("mfa_failed", "u2f_disabled")),
    (20, ("mfa_failed", "u2f_timeout")),
    // Spelt so in an older specification.
    (4, ("mfa_failed", "u2f_timout")),
    (12, ("mfa_failed", "duo_bad")),
    (4, ("mfa_failed", "duo_disabled")),
    (4, ("mfa_failed", "duo_native_bad")),
    (12, ("mfa_failed", "duo_timeout")),
    (4, ("mfa_failed", "platform_secret_bad")),
    (4, ("mfa_failed", "platform_secret_disabled")),
    (4, ("mfa_failed", "platform_secret_proxy")),
    (10, ("mfa_failed", "code_bad")),
    (4, ("mfa_failed", "code_disabled")),
    (10, ("mfa_failed", "code_timeout")),
    (8, ("sso_failed", "service_account_sso_denied")),
    (25, ("sso_failed", "non_sso_user")),
    (8, ("sso_failed", "sso_user_mismatch")),
    (10, ("modern_version_failed", "modern_version_missing")),
    (30, ("modern_version_failed", "modern_version_old")),
    (20, ("firewall_failed", "ip_blocked")),
    (20, ("firewall_failed", "continent_blocked")),
    (45, ("firewall_failed", "country_blocked")),
    (15, ("firewall_failed", "anonymous_blocked")),
    (5, ("firewall_failed", "all_blocked")),
    (10, ("firewall_reported_success", "ip_blocked")),
    (8, ("firewall_reported_success", "continent_blocked")),
    (15, ("firewall_reported_success", "country_blocked")),
    (8, ("firewall_reported_success", "anonymous_blocked")),
    (4, ("firewall_reported_success", "all_blocked")),
    // What a later version of the service may say.
    (4, ("passkey_failed", "passkey_bad")),
    (4, ("success", "passkey_bad")),
];

/// Draws the row of sign-in number `nth` of `of`.
pub(super) fn row(nth: usize, of: usize, rng: &mut Rng) -> u16 {
    covering(nth, of, TABLE.len()).unwrap_or_else(|| rng.weighted_row(&TABLE))
}

pub(super) fn is_for_services(row: u16) -> bool {
    TABLE[usize::from(row)].1.1 == "service_account_sso_denied"
}

pub(super) fn write(mut item: Item<'_>, world: &mut World, slot: Slot, stamp: &Stamp) -> [Cut; 2] {
    let World { company, sessions, rng } = world;
    let (category, kind) = TABLE[usize::from(slot.row)].1;
    let person = company.who(slot.actor);
    let device = rng.index(person.devices.len());
    let session = rng.id();
    let is_success = matches!(category, "success" | "firewall_reported_success");
    let is_firewall = category.starts_with("firewall");
    let place = if is_firewall { Place::elsewhere(rng) } else { person.office };

    if is_success || rng.chance(900) {
        item.id("session_uuid", &session);
    }
    item.text("timestamp", stamp.as_bytes());
    if !rng.chance(15) {
        item.text("country", place.code);
    }
    item.text("category", category);
    item.text("type", kind);
    if is_firewall {
        let value = match kind {
            "ip_blocked" => &person.devices[device].ip,
            "continent_blocked" => place.continent,
            "country_blocked" => place.code,
            "anonymous_blocked" => "anonymous",
            _ => "all",
        };
        item.json("details", &format!(r#"{{"value":"{value}"}}"#));
    } else if rng.chance(600) {
        item.json("details", "null");
    }
    item.user("target_user", &person.user);
    item.json("client", &person.devices[device].client);
    if !rng.chance(if is_firewall { 500 } else { 60 }) {
        item.json("location", &place.location(rng));
    }
    item.surprise(rng);
    if !rng.chance(50) {
        item.v2_only(|item| item.text("account_uuid", &company.uuid));
    }

    if let Actor::Person(index) = slot.actor
        && is_success
    {
        let login = stamp.clone();
        sessions[usize::from(index)] = Some(Session { uuid: session, login, device });
    }
    item.end()
}
