-- Exported vaults
-- Who exported a whole vault.
-- Window: 30 days, today included
-- Opens: 30 feed-days
SELECT
  event_time,
  account,
  actor_email,
  object_uuid AS vault_uuid,
  ip_address,
  location_country,
  location_city
FROM audit_events
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '29' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND object_type = 'vault'
  AND action = 'export'
ORDER BY event_time;
