//! The words that the three feeds are known to use, to notice a new one. An event
//! passes whatever it holds: who reads the lake may have a word to learn.
//!
//! From the published reference of the Events API, version 1.4.1, and its `OpenAPI`
//! description 1.2.0 (which spells `u2f_timout`). The feeds share one list of
//! fields, and nested objects are not looked at.

/// A field that records of some feed are known to have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field {
    /// The one that identifies an event.
    Uuid,
    /// The one that tells its time.
    Timestamp,
    /// One with this name, whose values are known: whether a word is one of them.
    Listed(&'static str, fn(&[u8]) -> bool),
    /// Any other.
    Free,
}

/// The field `name`; `None` if no feed is known to have it.
pub(crate) fn field(name: &[u8]) -> Option<Field> {
    Some(match name {
        b"uuid" => Field::Uuid,
        b"timestamp" => Field::Timestamp,
        b"action" => Field::Listed("action", is_action),
        b"category" => Field::Listed("category", is_category),
        b"object_type" => Field::Listed("object_type", is_object_type),
        b"type" => Field::Listed("type", is_type),
        b"account_uuid"
        | b"actor_account_uuid"
        | b"actor_details"
        | b"actor_type"
        | b"actor_uuid"
        | b"aux_details"
        | b"aux_id"
        | b"aux_info"
        | b"aux_uuid"
        | b"client"
        | b"country"
        | b"details"
        | b"item_uuid"
        | b"location"
        | b"object_details"
        | b"object_uuid"
        | b"session"
        | b"session_uuid"
        | b"target_user"
        | b"used_version"
        | b"user"
        | b"vault_uuid" => Field::Free,
        _ => return None,
    })
}

/// Of item usages and of audit events.
fn is_action(word: &[u8]) -> bool {
    matches!(
        word,
        b"activate"
            | b"addgsso"
            | b"begin"
            | b"beginr"
            | b"cancel"
            | b"cancelr"
            | b"changeks"
            | b"changela"
            | b"changemp"
            | b"changenm"
            | b"changesk"
            | b"chngasso"
            | b"chngdsso"
            | b"chngpsso"
            | b"complete"
            | b"completr"
            | b"convert"
            | b"create"
            | b"dealldev"
            | b"delete"
            | b"delgsso"
            | b"delshare"
            | b"deolddev"
            | b"detchild"
            | b"disblduo"
            | b"disblmfa"
            | b"disblsso"
            | b"dlgsess"
            | b"dvrfydmn"
            | b"enblduo"
            | b"enblmfa"
            | b"enblsso"
            | b"enter-item-edit-mode"
            | b"expire"
            | b"export"
            | b"fill"
            | b"grant"
            | b"hide"
            | b"join"
            | b"launchi"
            | b"leave"
            | b"musercom"
            | b"muserdec"
            | b"other"
            | b"patch"
            | b"propose"
            | b"provsn"
            | b"prsndall"
            | b"purge"
            | b"rdmchild"
            | b"reactive"
            | b"reauth"
            | b"replace"
            | b"resendts"
            | b"reveal"
            | b"revoke"
            | b"role"
            | b"sdvcsso"
            | b"secure-copy"
            | b"select-sso-provider"
            | b"sendpkg"
            | b"sendts"
            | b"server-create"
            | b"server-fetch"
            | b"server-update"
            | b"share"
            | b"ssotknv"
            | b"suspend"
            | b"tdvcsso"
            | b"trename"
            | b"trevoke"
            | b"trvlaway"
            | b"trvlback"
            | b"tverify"
            | b"uisas"
            | b"unhide"
            | b"unknown"
            | b"unlink"
            | b"updatduo"
            | b"update"
            | b"updatea"
            | b"updatfw"
            | b"updatmfa"
            | b"upguest"
            | b"uvrfydmn"
            | b"verify"
            | b"view"
            | b"vrfydmn"
    )
}

/// Of sign-in attempts.
fn is_category(word: &[u8]) -> bool {
    matches!(
        word,
        b"credentials_failed"
            | b"firewall_failed"
            | b"firewall_reported_success"
            | b"mfa_failed"
            | b"modern_version_failed"
            | b"sso_failed"
            | b"success"
    )
}

/// Of audit events.
fn is_object_type(word: &[u8]) -> bool {
    matches!(
        word,
        b"account"
            | b"card"
            | b"cred"
            | b"device"
            | b"dlgdsess"
            | b"ec"
            | b"famchild"
            | b"file"
            | b"gm"
            | b"group"
            | b"gva"
            | b"invite"
            | b"item"
            | b"itemhist"
            | b"items"
            | b"miguser"
            | b"mngdacc"
            | b"pm"
            | b"report"
            | b"sa"
            | b"satoken"
            | b"slackapp"
            | b"sso"
            | b"ssotkn"
            | b"sub"
            | b"template"
            | b"user"
            | b"uva"
            | b"vault"
            | b"vaultkey"
    )
}

/// Of sign-in attempts.
fn is_type(word: &[u8]) -> bool {
    matches!(
        word,
        b"all_blocked"
            | b"anonymous_blocked"
            | b"code_bad"
            | b"code_disabled"
            | b"code_timeout"
            | b"continent_blocked"
            | b"country_blocked"
            | b"credentials_ok"
            | b"duo_bad"
            | b"duo_disabled"
            | b"duo_native_bad"
            | b"duo_timeout"
            | b"federated"
            | b"ip_blocked"
            | b"mfa_missing"
            | b"mfa_ok"
            | b"modern_version_missing"
            | b"modern_version_old"
            | b"non_sso_user"
            | b"password_secret_bad"
            | b"platform_secret_bad"
            | b"platform_secret_disabled"
            | b"platform_secret_proxy"
            | b"service_account_sso_denied"
            | b"sso_user_mismatch"
            | b"totp_bad"
            | b"totp_disabled"
            | b"totp_timeout"
            | b"u2f_bad"
            | b"u2f_disabled"
            | b"u2f_timeout"
            | b"u2f_timout"
    )
}
