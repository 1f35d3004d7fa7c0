-- Use by service accounts
-- Which service account reads how many items, from which address.
-- Window: 7 days, today included
-- Opens: 7 feed-days
SELECT
  account,
  user_name AS service_account,
  user_uuid AS service_account_uuid,
  ip_address,
  count(*) AS times,
  count(DISTINCT item_uuid) AS items,
  count(DISTINCT vault_uuid) AS vaults,
  max(event_time) AS last_time
FROM item_usages
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '6' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND user_email LIKE '%@1passwordserviceaccounts.com'
GROUP BY 1, 2, 3, 4
ORDER BY times DESC, service_account, ip_address;
