-- Item usages, one row each.
CREATE OR REPLACE VIEW item_usages AS
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
  -- varchar: What was done, such as reveal, fill or export
  TRY(json_extract_scalar(line, '$.action')) AS action,
  -- varchar: The item; its name is never sent
  TRY(json_extract_scalar(line, '$.item_uuid')) AS item_uuid,
  -- varchar: The vault of the item
  TRY(json_extract_scalar(line, '$.vault_uuid')) AS vault_uuid,
  -- bigint: Version of the item
  TRY(CAST(json_extract_scalar(line, '$.used_version') AS bigint)) AS used_version,
  -- varchar: Identifier of the user who used the item
  TRY(json_extract_scalar(line, '$.user.uuid')) AS user_uuid,
  -- varchar: Name at the time
  TRY(json_extract_scalar(line, '$.user.name')) AS user_name,
  -- varchar: E-mail address at the time
  TRY(json_extract_scalar(line, '$.user.email')) AS user_email,
  -- varchar: user or external_user; set in accounts of managed service providers
  COALESCE(
    TRY(json_extract_scalar(line, '$.user.user_type')),
    TRY(json_extract_scalar(line, '$.user.type'))
  ) AS user_type,
  -- varchar: Account that the user belongs to; set in accounts of managed service providers
  TRY(json_extract_scalar(line, '$.user.user_account_uuid')) AS user_account_uuid,
  -- varchar: Name of the 1Password app
  TRY(json_extract_scalar(line, '$.client.app_name')) AS app_name,
  -- varchar: Version of the app
  TRY(json_extract_scalar(line, '$.client.app_version')) AS app_version,
  -- varchar: Browser, or name of the device or host
  TRY(json_extract_scalar(line, '$.client.platform_name')) AS platform_name,
  -- varchar: Version of the browser, model of the device, or processor
  TRY(json_extract_scalar(line, '$.client.platform_version')) AS platform_version,
  -- varchar: Operating system
  TRY(json_extract_scalar(line, '$.client.os_name')) AS os_name,
  -- varchar: Version of the operating system
  TRY(json_extract_scalar(line, '$.client.os_version')) AS os_version,
  -- varchar: IPv4 or IPv6 address of the client
  TRY(json_extract_scalar(line, '$.client.ip_address')) AS ip_address,
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
FROM item_usages_lines;
