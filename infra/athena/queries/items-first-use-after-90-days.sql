-- Items used first after 90 days
-- Items used in the last 7 days that nobody had used for 90 days.
-- Window: 180 days, today included
-- Opens: 180 feed-days
WITH uses AS (
  SELECT
    *,
    lag(event_time) OVER (PARTITION BY account, item_uuid ORDER BY event_time) AS previous_time
  FROM item_usages
  WHERE event_date BETWEEN date_format(current_date - INTERVAL '179' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
)
SELECT event_time, account, item_uuid, vault_uuid, action, user_email, previous_time
FROM uses
WHERE
  event_time >= current_date - INTERVAL '6' DAY
  AND previous_time < event_time - INTERVAL '90' DAY
ORDER BY event_time;
