-- Everything in one session
-- The sign-in of a session, and what was administered in it. Put the session and the days in.
-- Window: 7 days, today included
-- Opens: 14 feed-days
SELECT
  event_time,
  'signin_attempts' AS feed,
  account,
  user_email AS actor_email,
  category AS action,
  type AS action_info,
  CAST(NULL AS varchar) AS object_type,
  CAST(NULL AS varchar) AS object_uuid,
  ip_address
FROM signin_attempts
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '6' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND session_uuid = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
UNION ALL
SELECT
  event_time,
  'audit_events',
  account,
  actor_email,
  action,
  aux_info,
  object_type,
  object_uuid,
  ip_address
FROM audit_events
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '6' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND session_uuid = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
ORDER BY event_time;
