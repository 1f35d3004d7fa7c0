-- Audit events, one row each.
CREATE OR REPLACE VIEW audit_events AS
SELECT
  -- timestamp(3): When it happened, in UTC, to the millisecond
  TRY(
    CAST(from_iso8601_timestamp(json_extract_scalar(line, '$.timestamp')) AT TIME ZONE 'UTC' AS timestamp(3))
  ) AS event_time,
  -- varchar: When it happened, as sent: any offset, up to nine digits of a second
  TRY(json_extract_scalar(line, '$.timestamp')) AS event_timestamp,
  -- varchar: Name of the 1Password account, as the operator chose it
  regexp_extract("$path", '([^/]+)/[^/]+$', 1) AS account,
  -- varchar: Identifier of the event
  TRY(json_extract_scalar(line, '$.uuid')) AS event_uuid,
  -- varchar: Identifier of who did it
  TRY(json_extract_scalar(line, '$.actor_uuid')) AS actor_uuid,
  -- varchar: Name of the actor at the time
  TRY(json_extract_scalar(line, '$.actor_details.name')) AS actor_name,
  -- varchar: E-mail address of the actor at the time
  TRY(json_extract_scalar(line, '$.actor_details.email')) AS actor_email,
  -- varchar: user or external_user
  TRY(json_extract_scalar(line, '$.actor_type')) AS actor_type,
  -- varchar: Account that the actor belongs to
  TRY(json_extract_scalar(line, '$.actor_account_uuid')) AS actor_account_uuid,
  -- varchar: What was done, such as suspend, join or grant
  TRY(json_extract_scalar(line, '$.action')) AS action,
  -- varchar: Kind of the object, such as user, gm (group membership) or uva (vault access of a user)
  TRY(json_extract_scalar(line, '$.object_type')) AS object_type,
  -- varchar: The object: for gm the group, for uva and gva the vault
  TRY(json_extract_scalar(line, '$.object_uuid')) AS object_uuid,
  -- varchar: Name of the object, if it is a user at the time
  TRY(json_extract_scalar(line, '$.object_details.name')) AS object_name,
  -- varchar: E-mail address of the object, if it is a user at the time
  TRY(json_extract_scalar(line, '$.object_details.email')) AS object_email,
  -- bigint: Number of a device or membership
  TRY(CAST(json_extract_scalar(line, '$.aux_id') AS bigint)) AS aux_id,
  -- varchar: Second object: for gm and uva the user, for gva the group
  TRY(json_extract_scalar(line, '$.aux_uuid')) AS aux_uuid,
  -- varchar: Name of the second object, if it is a user at the time
  TRY(json_extract_scalar(line, '$.aux_details.name')) AS aux_name,
  -- varchar: E-mail address of the second object, if it is a user at the time
  TRY(json_extract_scalar(line, '$.aux_details.email')) AS aux_email,
  -- varchar: Free text; its meaning depends on the action
  TRY(json_extract_scalar(line, '$.aux_info')) AS aux_info,
  -- varchar: Session, as in signin_attempts
  TRY(json_extract_scalar(line, '$.session.uuid')) AS session_uuid,
  -- timestamp(3): When the session was signed in, in UTC
  TRY(
    CAST(from_iso8601_timestamp(json_extract_scalar(line, '$.session.login_time')) AT TIME ZONE 'UTC' AS timestamp(3))
  ) AS session_login_time,
  -- varchar: Device of the session
  TRY(json_extract_scalar(line, '$.session.device_uuid')) AS session_device_uuid,
  -- varchar: IPv4 or IPv6 address of the session
  TRY(json_extract_scalar(line, '$.session.ip')) AS ip_address,
  -- varchar: Country of the address: a name or an ISO code
  TRY(json_extract_scalar(line, '$.location.country')) AS location_country,
  -- varchar: Region of the address
  TRY(json_extract_scalar(line, '$.location.region')) AS location_region,
  -- varchar: City of the address
  TRY(json_extract_scalar(line, '$.location.city')) AS location_city,
  -- double: Latitude in degrees
  TRY(CAST(json_extract_scalar(line, '$.location.latitude') AS double)) AS location_latitude,
  -- double: Longitude in degrees
  TRY(CAST(json_extract_scalar(line, '$.location.longitude') AS double)) AS location_longitude,
  -- varchar: Identifier of the 1Password account
  TRY(json_extract_scalar(line, '$.account_uuid')) AS account_uuid,
  -- varchar: The event as sent, one JSON object
  line,
  -- varchar: UTC day of the event, yyyy-MM-dd; bound it in every query
  event_date
FROM audit_events_lines;
