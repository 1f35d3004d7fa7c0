-- Service accounts and their tokens changed
-- Service accounts and tokens that were made, renamed or revoked.
-- Window: 30 days, today included
-- Opens: 30 feed-days
SELECT event_time, account, actor_email, object_type, action, object_uuid, aux_info, ip_address
FROM audit_events
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '29' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND object_type IN ('sa', 'satoken')
ORDER BY event_time;
