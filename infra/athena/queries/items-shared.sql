-- Shared items
-- Items that were shared, or no longer are, and by whom.
-- Window: 30 days, today included
-- Opens: 30 feed-days
SELECT
  event_time,
  account,
  actor_email,
  action,
  object_uuid AS item_uuid,
  aux_uuid AS vault_uuid,
  ip_address
FROM audit_events
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '29' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND object_type = 'item'
  AND action IN ('share', 'delshare')
ORDER BY event_time;
