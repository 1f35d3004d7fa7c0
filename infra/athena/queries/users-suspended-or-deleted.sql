-- Suspended, reactivated and deleted users
-- Who left, who came back, and who saw to it.
-- Window: 30 days, today included
-- Opens: 30 feed-days
SELECT
  event_time,
  account,
  actor_email,
  action,
  object_uuid AS user_uuid,
  object_name AS user_name,
  object_email AS user_email
FROM audit_events
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '29' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND object_type = 'user'
  AND action IN ('suspend', 'reactive', 'delete')
ORDER BY event_time;
