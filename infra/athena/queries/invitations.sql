-- Invitations
-- Who was invited, and by whom.
-- Window: 30 days, today included
-- Opens: 30 feed-days
SELECT event_time, account, actor_email, action, aux_info AS invited_email
FROM audit_events
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '29' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND object_type = 'invite'
ORDER BY event_time;
