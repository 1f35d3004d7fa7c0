-- Everything that one person did
-- All three feeds in the order of time. Put the e-mail address and the days in.
-- Window: 7 days, today included
-- Opens: 21 feed-days
SELECT
  event_time,
  feed,
  account,
  action,
  action_info,
  object_type,
  object_uuid,
  object_email,
  aux_uuid,
  aux_email,
  ip_address,
  app_name
FROM activity
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '6' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND lower(actor_email) = 'person@example.com'
ORDER BY event_time, event_uuid;
