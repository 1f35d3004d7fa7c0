-- Items exported by person
-- How many items each person exported or downloaded, from which vaults.
-- Window: 30 days, today included
-- Opens: 30 feed-days
SELECT
  account,
  user_email,
  vault_uuid,
  count(DISTINCT item_uuid) AS items,
  min(event_time) AS first_time,
  max(event_time) AS last_time
FROM item_usages
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '29' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND action = 'export'
GROUP BY 1, 2, 3
ORDER BY items DESC, user_email, vault_uuid;
