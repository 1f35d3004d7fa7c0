//! Audit events.

use super::company::{self, Company};
use super::item::Item;
use super::stamp::Stamp;
use super::{Actor, Slot, World, covering};
use crate::rng::Rng;
use crate::store::Cut;

/// Who does such a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Anyone,
    Admin,
    /// The bridge that provisions people, or another service account.
    Service,
}

/// What an event says about its object and the other party.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// A group, the member and the member's role.
    Member,
    /// A vault, the user and their access.
    UserAccess,
    /// A vault, the group and its access.
    GroupAccess,
    /// Another user.
    User,
    /// The actor.
    Oneself,
    /// An item and its vault.
    Item,
    /// A vault and how many of its items.
    Items,
    Vault,
    Group,
    /// A device's number and its user.
    Device,
    /// An invitation and the invited address.
    Invitation,
    Account,
    /// A session and the one it was delegated by.
    Delegation,
    /// Anything else with an id.
    Thing,
}

use About::{
    Account, Delegation, Device, Group, GroupAccess, Invitation, Item as OneItem, Items, Member,
    Oneself, Thing, User, UserAccess, Vault,
};
use By::{Admin, Anyone, Service};

type Row = (&'static str, &'static str, By, About);

/// How often, action, object type, who and what about. The order of rows is
/// part of the generated data.
const TABLE: &[(u32, Row)] = &[
    // Plumbing of sessions is most of the volume.
    (2600, ("dlgsess", "dlgdsess", Anyone, Delegation)),
    (1500, ("ssotknv", "ssotkn", Anyone, Thing)),
    // Documented or seen in the field.
    (300, ("patch", "items", Anyone, Items)),
    (120, ("create", "device", Anyone, Device)),
    (110, ("join", "gm", Service, Member)),
    (60, ("join", "gm", Admin, Member)),
    (40, ("leave", "gm", Admin, Member)),
    (20, ("role", "gm", Admin, Member)),
    (60, ("grant", "uva", Admin, UserAccess)),
    (20, ("update", "uva", Admin, UserAccess)),
    (25, ("revoke", "uva", Admin, UserAccess)),
    (60, ("grant", "gva", Admin, GroupAccess)),
    (20, ("update", "gva", Admin, GroupAccess)),
    (20, ("revoke", "gva", Admin, GroupAccess)),
    (60, ("share", "item", Anyone, OneItem)),
    (40, ("create", "file", Anyone, Thing)),
    (30, ("create", "invite", Service, Invitation)),
    (25, ("suspend", "user", Admin, User)),
    (15, ("delete", "user", Admin, User)),
    (30, ("activate", "user", Admin, User)),
    (20, ("beginr", "user", Admin, User)),
    (18, ("completr", "user", Admin, User)),
    (8, ("dealldev", "user", Admin, User)),
    (20, ("reauth", "user", Admin, User)),
    (30, ("tdvcsso", "user", Anyone, Oneself)),
    (20, ("enblmfa", "user", Anyone, Oneself)),
    (10, ("updatmfa", "user", Anyone, Oneself)),
    (8, ("disblmfa", "user", Anyone, Oneself)),
    (2, ("disblmfa", "account", Admin, Account)),
    (8, ("updatfw", "account", Admin, Account)),
    (2, ("enblsso", "sso", Admin, Thing)),
    (2, ("disblsso", "sso", Admin, Thing)),
    (3, ("chngpsso", "sso", Admin, Thing)),
    (2, ("chngasso", "sso", Admin, Thing)),
    (2, ("chngdsso", "sso", Admin, Thing)),
    (4, ("addgsso", "sso", Admin, Thing)),
    (3, ("delgsso", "sso", Admin, Thing)),
    (10, ("create", "sa", Admin, Thing)),
    (12, ("create", "satoken", Admin, Thing)),
    (3, ("trename", "satoken", Admin, Thing)),
    (15, ("tverify", "satoken", Service, Thing)),
    (5, ("trevoke", "satoken", Admin, Thing)),
    (6, ("export", "vault", Anyone, Vault)),
    // The remaining codes, on the objects their names suggest.
    (8, ("begin", "ec", Anyone, Thing)),
    (8, ("propose", "ec", Anyone, Thing)),
    (8, ("complete", "ec", Anyone, Thing)),
    (4, ("cancel", "ec", Anyone, Thing)),
    (6, ("cancelr", "user", Admin, User)),
    (6, ("changeks", "user", Anyone, Oneself)),
    (4, ("changela", "user", Anyone, Oneself)),
    (12, ("changemp", "user", Anyone, Oneself)),
    (8, ("changenm", "user", Anyone, Oneself)),
    (6, ("changesk", "user", Anyone, Oneself)),
    (2, ("convert", "account", Admin, Account)),
    (10, ("delshare", "item", Anyone, OneItem)),
    (6, ("deolddev", "user", Anyone, Oneself)),
    (3, ("rdmchild", "famchild", Anyone, Thing)),
    (3, ("detchild", "famchild", Anyone, Thing)),
    (2, ("enblduo", "account", Admin, Account)),
    (2, ("updatduo", "account", Admin, Account)),
    (2, ("disblduo", "account", Admin, Account)),
    (3, ("vrfydmn", "account", Admin, Account)),
    (2, ("uvrfydmn", "account", Admin, Account)),
    (2, ("dvrfydmn", "account", Admin, Account)),
    (3, ("uisas", "account", Admin, Account)),
    (2, ("unknown", "account", Admin, Account)),
    (5, ("expire", "invite", Service, Invitation)),
    (3, ("export", "report", Admin, Thing)),
    (8, ("view", "report", Admin, Thing)),
    (3, ("create", "report", Admin, Thing)),
    (10, ("view", "itemhist", Anyone, OneItem)),
    (3, ("purge", "itemhist", Anyone, OneItem)),
    (8, ("purge", "items", Anyone, Items)),
    (3, ("hide", "vault", Admin, Vault)),
    (3, ("unhide", "vault", Admin, Vault)),
    (12, ("create", "vault", Anyone, Vault)),
    (6, ("update", "vault", Anyone, Vault)),
    (4, ("delete", "vault", Anyone, Vault)),
    (8, ("create", "group", Admin, Group)),
    (6, ("update", "group", Admin, Group)),
    (3, ("delete", "group", Admin, Group)),
    (4, ("launchi", "item", Anyone, OneItem)),
    (2, ("musercom", "miguser", Anyone, Thing)),
    (2, ("muserdec", "miguser", Anyone, Thing)),
    (15, ("provsn", "user", Service, User)),
    (2, ("prsndall", "user", Service, User)),
    (6, ("reactive", "user", Admin, User)),
    (3, ("replace", "vaultkey", Anyone, Thing)),
    (3, ("replace", "file", Anyone, Thing)),
    (4, ("sendpkg", "user", Anyone, User)),
    (6, ("sendts", "user", Admin, User)),
    (4, ("resendts", "user", Admin, User)),
    (4, ("sdvcsso", "user", Anyone, Oneself)),
    (6, ("trvlaway", "user", Anyone, Oneself)),
    (6, ("trvlback", "user", Anyone, Oneself)),
    (3, ("unlink", "mngdacc", Admin, Thing)),
    (3, ("create", "mngdacc", Admin, Thing)),
    (3, ("updatea", "user", Admin, User)),
    (3, ("upguest", "user", Admin, User)),
    (6, ("verify", "user", Anyone, Oneself)),
    (5, ("create", "cred", Anyone, Thing)),
    (3, ("revoke", "cred", Anyone, Thing)),
    (2, ("create", "card", Admin, Thing)),
    (2, ("update", "pm", Admin, Thing)),
    (2, ("update", "sub", Admin, Thing)),
    (2, ("create", "slackapp", Admin, Thing)),
    (3, ("update", "template", Admin, Thing)),
    (8, ("delete", "device", Anyone, Device)),
    (5, ("update", "account", Admin, Account)),
    // What a later version of the service may say.
    (2, ("rotate", "pscred", Admin, Thing)),
];

/// Draws the row of audit event number `nth` of `of`.
pub(super) fn row(nth: usize, of: usize, rng: &mut Rng) -> u16 {
    covering(nth, of, TABLE.len()).unwrap_or_else(|| rng.weighted_row(TABLE))
}

/// Draws who does what `row` says.
pub(super) fn actor(row: u16, company: &Company, rng: &mut Rng) -> Actor {
    match TABLE[usize::from(row)].1.2 {
        Anyone => company::any_person(rng),
        Admin => company::any_admin(rng),
        Service => company.any_service(rng),
    }
}

pub(super) fn write(mut item: Item<'_>, world: &mut World, slot: Slot, stamp: &Stamp) -> [Cut; 2] {
    let World { company, sessions, rng } = world;
    let (action, object_type, _, about) = TABLE[usize::from(slot.row)].1;
    let person = company.who(slot.actor);

    item.text("timestamp", stamp.as_bytes());
    item.text("actor_uuid", &person.user.uuid);
    if !rng.chance(10) {
        item.user("actor_details", &person.user);
    }
    item.v2_only(|item| {
        if let Some(home) = person.user.home_account {
            item.text("actor_type", "external_user");
            item.text("actor_account_uuid", home);
        } else {
            item.text("actor_type", "user");
            if rng.chance(500) {
                item.text("actor_account_uuid", &company.uuid);
            }
        }
        if !rng.chance(50) {
            item.text("account_uuid", &company.uuid);
        }
    });
    item.text("action", action);
    item.text("object_type", object_type);
    details(&mut item, about, company, slot.actor, sessions_uuid(sessions, slot.actor), rng);
    // A service account has no session, and nor has someone who was signed in
    // before the history begins.
    if let Actor::Person(index) = slot.actor
        && let Some(session) = &sessions[usize::from(index)]
    {
        let device = &person.devices[session.device];
        item.json("session", r#"{"uuid":""#);
        item.raw(session.uuid);
        item.raw(r#"","login_time":""#);
        item.raw(session.login.as_bytes());
        item.raw(r#"","device_uuid":""#);
        item.raw(&device.uuid);
        item.raw(r#"","ip":""#);
        item.raw(&device.ip);
        item.raw(r#""}"#);
    }
    if !rng.chance(250) {
        item.json("location", &person.office.location(rng));
    }
    item.surprise(rng);
    item.end()
}

fn sessions_uuid(sessions: &[Option<super::Session>], actor: Actor) -> Option<[u8; 26]> {
    let Actor::Person(index) = actor else { return None };
    sessions[usize::from(index)].as_ref().map(|session| session.uuid)
}

/// Writes the fields on the object and on the other party.
fn details(
    item: &mut Item<'_>,
    about: About,
    company: &Company,
    actor: Actor,
    session: Option<[u8; 26]>,
    rng: &mut Rng,
) {
    let other = &company.who(company::any_person(rng)).user;
    let vault = &company.vaults[usize::from(company.any_vault(rng))];
    match about {
        Member => {
            item.text("object_uuid", rng.pick(&company.groups));
            item.number("aux_id", 9_000_000 + rng.below(999_999));
            item.text("aux_uuid", &other.uuid);
            item.plain_user("aux_details", other);
            item.text("aux_info", if rng.chance(150) { "A" } else { "R" });
        }
        UserAccess => {
            item.text("object_uuid", &vault.uuid);
            item.text("aux_uuid", &other.uuid);
            item.plain_user("aux_details", other);
            item.text("aux_info", rng.pick(&["1048690", "7340530", "48", "2"]));
        }
        GroupAccess => {
            item.text("object_uuid", &vault.uuid);
            item.text("aux_uuid", rng.pick(&company.groups));
            item.text("aux_info", rng.pick(&["1048690", "7340530", "48", "2"]));
        }
        User => {
            item.text("object_uuid", &other.uuid);
            item.plain_user("object_details", other);
        }
        Oneself => {
            let user = &company.who(actor).user;
            item.text("object_uuid", &user.uuid);
            item.plain_user("object_details", user);
        }
        OneItem => {
            item.text("object_uuid", rng.pick(&vault.items));
            item.text("aux_uuid", &vault.uuid);
        }
        Items => {
            item.text("object_uuid", &vault.uuid);
            item.text("aux_info", (1 + rng.below(30)).to_string());
        }
        Vault => item.text("object_uuid", &vault.uuid),
        Group => item.text("object_uuid", rng.pick(&company.groups)),
        Device => {
            let person = company.who(actor);
            if rng.chance(500) {
                item.text("object_uuid", &rng.pick(&person.devices).uuid);
            }
            item.number("aux_id", 40_000_000 + rng.below(9_999_999));
            item.text("aux_uuid", &person.user.uuid);
            item.plain_user("aux_details", &person.user);
        }
        Invitation => {
            item.id("object_uuid", &rng.id());
            item.text("aux_info", &other.email);
        }
        Account => item.text("object_uuid", &company.uuid),
        Delegation => {
            item.id("object_uuid", &rng.id());
            if let Some(session) = session {
                item.id("aux_uuid", &session);
            }
        }
        Thing => item.id("object_uuid", &rng.id()),
    }
}
