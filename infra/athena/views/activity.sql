-- Who did what, where, on which object: all three feeds.
CREATE OR REPLACE VIEW activity AS
SELECT
  -- timestamp(3): When it happened, in UTC, to the millisecond
  event_time,
  -- varchar: signin_attempts, item_usages or audit_events
  CAST('signin_attempts' AS varchar) AS feed,
  -- varchar: Name of the 1Password account, as the operator chose it
  account,
  -- varchar: Identifier of who did it
  user_uuid AS actor_uuid,
  -- varchar: Name of the actor at the time
  user_name AS actor_name,
  -- varchar: E-mail address of the actor at the time
  user_email AS actor_email,
  -- varchar: user or external_user
  user_type AS actor_type,
  -- varchar: What was done; of a sign-in attempt, its category
  category AS action,
  -- varchar: type of a sign-in attempt, aux_info of an audit event
  type AS action_info,
  -- varchar: Kind of the object; item for item usages
  CAST(NULL AS varchar) AS object_type,
  -- varchar: The object
  CAST(NULL AS varchar) AS object_uuid,
  -- varchar: Name of the object, if it is a user
  CAST(NULL AS varchar) AS object_name,
  -- varchar: E-mail address of the object, if it is a user
  CAST(NULL AS varchar) AS object_email,
  -- varchar: Second object; the vault of an item usage
  CAST(NULL AS varchar) AS aux_uuid,
  -- varchar: Name of the second object, if it is a user
  CAST(NULL AS varchar) AS aux_name,
  -- varchar: E-mail address of the second object, if it is a user
  CAST(NULL AS varchar) AS aux_email,
  -- varchar: IPv4 or IPv6 address
  ip_address,
  -- varchar: Country of the address: a name or an ISO code
  location_country,
  -- varchar: City of the address
  location_city,
  -- varchar: Name of the 1Password app; not told by audit events
  app_name,
  -- varchar: Session; not told by item usages
  session_uuid,
  -- varchar: Identifier of the event
  event_uuid,
  -- varchar: UTC day of the event, yyyy-MM-dd; bound it in every query
  event_date
FROM signin_attempts
UNION ALL
SELECT
  event_time,
  CAST('item_usages' AS varchar),
  account,
  user_uuid,
  user_name,
  user_email,
  user_type,
  action,
  NULL,
  CAST('item' AS varchar),
  item_uuid,
  NULL,
  NULL,
  vault_uuid,
  NULL,
  NULL,
  ip_address,
  location_country,
  location_city,
  app_name,
  NULL,
  event_uuid,
  event_date
FROM item_usages
UNION ALL
SELECT
  event_time,
  CAST('audit_events' AS varchar),
  account,
  actor_uuid,
  actor_name,
  actor_email,
  actor_type,
  action,
  aux_info,
  object_type,
  object_uuid,
  object_name,
  object_email,
  aux_uuid,
  aux_name,
  aux_email,
  ip_address,
  location_country,
  location_city,
  NULL,
  session_uuid,
  event_uuid,
  event_date
FROM audit_events;
