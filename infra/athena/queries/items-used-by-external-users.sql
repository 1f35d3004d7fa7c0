-- Items used by external users
-- What users of other accounts (MSP technicians) did with items.
-- Window: 30 days, today included
-- Opens: 30 feed-days
SELECT
  account,
  user_email,
  user_account_uuid,
  action,
  vault_uuid,
  count(DISTINCT item_uuid) AS items,
  count(*) AS times,
  max(event_time) AS last_time
FROM item_usages
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '29' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND user_type = 'external_user'
GROUP BY 1, 2, 3, 4, 5
ORDER BY items DESC, user_email, action, vault_uuid;
