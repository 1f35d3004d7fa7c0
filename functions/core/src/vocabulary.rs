//! The words that the three feeds are known to use, to notice a new one. An event
//! passes whatever it holds: who reads the lake may have a word to learn.
//!
//! From the published reference of the Events API, version 1.4.1, and its `OpenAPI`
//! description 1.2.0 (which spells `u2f_timout`). The feeds share one list of
//! fields, and nested objects are not looked at.

/// Whether records of some feed are known to have the field `name`.
pub(crate) fn knows_field(name: &[u8]) -> bool {
    is_one_of(name, FIELDS)
}

/// The values that the field `name` is known to have; `None` if it is free.
pub(crate) fn values(name: &[u8]) -> Option<&'static [&'static str]> {
    match name {
        b"action" => Some(ACTIONS),
        b"category" => Some(CATEGORIES),
        b"object_type" => Some(OBJECT_TYPES),
        b"type" => Some(TYPES),
        _ => None,
    }
}

/// Whether `word` is among the sorted `words`.
pub(crate) fn is_one_of(word: &[u8], words: &[&str]) -> bool {
    words.binary_search_by(|known| known.as_bytes().cmp(word)).is_ok()
}

const FIELDS: &[&str] = &[
    "account_uuid",
    "action",
    "actor_account_uuid",
    "actor_details",
    "actor_type",
    "actor_uuid",
    "aux_details",
    "aux_id",
    "aux_info",
    "aux_uuid",
    "category",
    "client",
    "country",
    "details",
    "item_uuid",
    "location",
    "object_details",
    "object_type",
    "object_uuid",
    "session",
    "session_uuid",
    "target_user",
    "timestamp",
    "type",
    "used_version",
    "user",
    "uuid",
    "vault_uuid",
];

/// Of item usages and of audit events.
const ACTIONS: &[&str] = &[
    "activate",
    "addgsso",
    "begin",
    "beginr",
    "cancel",
    "cancelr",
    "changeks",
    "changela",
    "changemp",
    "changenm",
    "changesk",
    "chngasso",
    "chngdsso",
    "chngpsso",
    "complete",
    "completr",
    "convert",
    "create",
    "dealldev",
    "delete",
    "delgsso",
    "delshare",
    "deolddev",
    "detchild",
    "disblduo",
    "disblmfa",
    "disblsso",
    "dlgsess",
    "dvrfydmn",
    "enblduo",
    "enblmfa",
    "enblsso",
    "enter-item-edit-mode",
    "expire",
    "export",
    "fill",
    "grant",
    "hide",
    "join",
    "launchi",
    "leave",
    "musercom",
    "muserdec",
    "other",
    "patch",
    "propose",
    "provsn",
    "prsndall",
    "purge",
    "rdmchild",
    "reactive",
    "reauth",
    "replace",
    "resendts",
    "reveal",
    "revoke",
    "role",
    "sdvcsso",
    "secure-copy",
    "select-sso-provider",
    "sendpkg",
    "sendts",
    "server-create",
    "server-fetch",
    "server-update",
    "share",
    "ssotknv",
    "suspend",
    "tdvcsso",
    "trename",
    "trevoke",
    "trvlaway",
    "trvlback",
    "tverify",
    "uisas",
    "unhide",
    "unknown",
    "unlink",
    "updatduo",
    "update",
    "updatea",
    "updatfw",
    "updatmfa",
    "upguest",
    "uvrfydmn",
    "verify",
    "view",
    "vrfydmn",
];

/// Of sign-in attempts.
const CATEGORIES: &[&str] = &[
    "credentials_failed",
    "firewall_failed",
    "firewall_reported_success",
    "mfa_failed",
    "modern_version_failed",
    "sso_failed",
    "success",
];

/// Of audit events.
const OBJECT_TYPES: &[&str] = &[
    "account", "card", "cred", "device", "dlgdsess", "ec", "famchild", "file", "gm", "group",
    "gva", "invite", "item", "itemhist", "items", "miguser", "mngdacc", "pm", "report", "sa",
    "satoken", "slackapp", "sso", "ssotkn", "sub", "template", "user", "uva", "vault", "vaultkey",
];

/// Of sign-in attempts.
const TYPES: &[&str] = &[
    "all_blocked",
    "anonymous_blocked",
    "code_bad",
    "code_disabled",
    "code_timeout",
    "continent_blocked",
    "country_blocked",
    "credentials_ok",
    "duo_bad",
    "duo_disabled",
    "duo_native_bad",
    "duo_timeout",
    "federated",
    "ip_blocked",
    "mfa_missing",
    "mfa_ok",
    "modern_version_missing",
    "modern_version_old",
    "non_sso_user",
    "password_secret_bad",
    "platform_secret_bad",
    "platform_secret_disabled",
    "platform_secret_proxy",
    "service_account_sso_denied",
    "sso_user_mismatch",
    "totp_bad",
    "totp_disabled",
    "totp_timeout",
    "u2f_bad",
    "u2f_disabled",
    "u2f_timeout",
    "u2f_timout",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_so_can_be_searched() {
        for list in [FIELDS, ACTIONS, CATEGORIES, OBJECT_TYPES, TYPES] {
            assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
        }
    }
}
