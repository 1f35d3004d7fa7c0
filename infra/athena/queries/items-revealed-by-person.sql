-- Items revealed or copied by person
-- How many items each person showed or copied.
-- Window: 7 days, today included
-- Opens: 7 feed-days
SELECT
  account,
  user_email,
  count(DISTINCT item_uuid) AS items,
  count(DISTINCT vault_uuid) AS vaults,
  count(*) AS times,
  min(event_time) AS first_time,
  max(event_time) AS last_time
FROM item_usages
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '6' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND action IN ('reveal', 'secure-copy')
GROUP BY 1, 2
ORDER BY items DESC, user_email;
