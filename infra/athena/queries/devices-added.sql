-- New devices
-- Devices that were added to an account, for whom and from where.
-- Window: 7 days, today included
-- Opens: 7 feed-days
SELECT
  event_time,
  account,
  COALESCE(aux_email, actor_email) AS user_email,
  actor_email,
  object_uuid AS device_uuid,
  ip_address,
  location_country,
  location_city
FROM audit_events
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '6' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND object_type = 'device'
  AND action = 'create'
ORDER BY event_time;
