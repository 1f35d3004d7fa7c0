-- MFA, SSO or firewall changed
-- Changes of the rules by which people sign in.
-- Window: 90 days, today included
-- Opens: 90 feed-days
SELECT
  event_time,
  account,
  actor_email,
  CASE
    WHEN action = 'updatfw' THEN 'firewall'
    WHEN object_type = 'sso' THEN 'SSO'
    ELSE 'MFA'
  END AS setting,
  action,
  object_type,
  object_email,
  ip_address
FROM audit_events
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '89' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND (
    object_type = 'sso'
    OR action IN ('updatfw', 'enblmfa', 'updatmfa', 'disblmfa', 'enblduo', 'updatduo', 'disblduo')
  )
ORDER BY event_time;
