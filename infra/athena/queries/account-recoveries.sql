-- Account recoveries
-- Recoveries of accounts that were begun, completed or cancelled, for whom and by whom.
-- Window: 30 days, today included
-- Opens: 30 feed-days
SELECT
  event_time,
  account,
  actor_email,
  action,
  object_email AS user_email,
  ip_address,
  location_country
FROM audit_events
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '29' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND object_type = 'user'
  AND action IN ('beginr', 'completr', 'cancelr')
ORDER BY event_time;
