-- Bulk export
-- People who exported 20 or more items within an hour of the clock.
-- Window: 30 days, today included
-- Opens: 30 feed-days
SELECT
  account,
  user_email,
  date_trunc('hour', event_time) AS hour,
  count(DISTINCT item_uuid) AS items,
  count(DISTINCT vault_uuid) AS vaults,
  max(app_name) AS app_name,
  max(ip_address) AS ip_address
FROM item_usages
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '29' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND action = 'export'
GROUP BY 1, 2, 3
HAVING count(DISTINCT item_uuid) >= 20
ORDER BY items DESC, hour;
