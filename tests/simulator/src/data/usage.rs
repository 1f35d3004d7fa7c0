//! Item usages.

use super::item::Item;
use super::stamp::Stamp;
use super::{Slot, World, covering};
use crate::rng::Rng;
use crate::store::Cut;

/// How often, and the action; an empty one is left out, as clients of long ago
/// did. The order of rows is part of the generated data.
const TABLE: [(u32, &str); 13] = [
    (420, "fill"),
    (220, "server-fetch"),
    (140, "secure-copy"),
    (80, "reveal"),
    (40, "enter-item-edit-mode"),
    (25, "server-update"),
    (20, "select-sso-provider"),
    (15, "server-create"),
    (12, "share"),
    (EXPORT_WEIGHT, "export"),
    (8, "other"),
    (5, ""),
    // What a later version of the service may say.
    (1, "passkey-assert"),
];
const EXPORT_WEIGHT: u32 = 4;

/// The row of exports.
pub(super) const EXPORT: u16 = 9;

/// Draws the row of usage number `nth` of `of`.
pub(super) fn row(nth: usize, of: usize, rng: &mut Rng) -> u16 {
    covering(nth, of, TABLE.len()).unwrap_or_else(|| rng.weighted_row(&TABLE))
}

pub(super) fn is_for_services(row: u16) -> bool {
    TABLE[usize::from(row)].1 == "server-fetch"
}

pub(super) fn write(mut item: Item<'_>, world: &mut World, slot: Slot, stamp: &Stamp) -> [Cut; 2] {
    let World { company, rng, .. } = world;
    let action = TABLE[usize::from(slot.row)].1;
    let person = company.who(slot.actor);
    let vault = slot.export.unwrap_or_else(|| company.any_vault(rng));
    let vault = &company.vaults[usize::from(vault)];
    let device = rng.pick(&person.devices);

    item.text("timestamp", stamp.as_bytes());
    item.number("used_version", rng.below(12) * rng.below(5));
    item.text("vault_uuid", &vault.uuid);
    item.text("item_uuid", rng.pick(&vault.items));
    if !action.is_empty() {
        item.text("action", action);
    }
    item.user("user", &person.user);
    item.json("client", &device.client);
    if !rng.chance(80) {
        item.json("location", &person.office.location(rng));
    }
    item.surprise(rng);
    if !rng.chance(50) {
        item.v2_only(|item| item.text("account_uuid", &company.uuid));
    }
    item.end()
}
