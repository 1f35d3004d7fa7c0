-- Group changes
-- Groups made, changed or deleted, and who joined, left or became a manager.
-- Window: 30 days, today included
-- Opens: 30 feed-days
SELECT
  event_time,
  account,
  actor_email,
  object_type,
  action,
  object_uuid AS group_uuid,
  aux_email AS member_email,
  CASE aux_info WHEN 'A' THEN 'manager' WHEN 'R' THEN 'member' ELSE aux_info END AS role
FROM audit_events
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '29' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND object_type IN ('gm', 'group')
ORDER BY event_time;
