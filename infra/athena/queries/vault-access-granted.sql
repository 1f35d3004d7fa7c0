-- Vault access granted
-- Who gave a user or a group access to a vault, or changed it.
-- Window: 30 days, today included
-- Opens: 30 feed-days
SELECT
  event_time,
  account,
  actor_email,
  action,
  object_uuid AS vault_uuid,
  CASE object_type WHEN 'uva' THEN 'user' ELSE 'group' END AS given_to,
  aux_uuid AS given_to_uuid,
  aux_email AS given_to_email,
  aux_info
FROM audit_events
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '29' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND object_type IN ('uva', 'gva')
  AND action IN ('grant', 'update')
ORDER BY event_time;
