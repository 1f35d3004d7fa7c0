-- Service accounts at a new address
-- Service accounts used in the last 7 days from an address that they had not been used from before.
-- Window: 37 days: the last 7, today included, against the 30 before
-- Opens: 37 feed-days
WITH addresses AS (
  SELECT
    account,
    user_uuid,
    max(user_name) AS service_account,
    ip_address,
    min(event_time) AS first_time,
    count(*) AS times
  FROM item_usages
  WHERE
    event_date BETWEEN date_format(current_date - INTERVAL '36' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
    AND user_email LIKE '%@1passwordserviceaccounts.com'
  GROUP BY account, user_uuid, ip_address
),
accounts AS (
  SELECT *, min(first_time) OVER (PARTITION BY account, user_uuid) AS account_first_time
  FROM addresses
)
SELECT account, service_account, user_uuid AS service_account_uuid, ip_address, first_time, times
FROM accounts
WHERE
  first_time >= current_date - INTERVAL '6' DAY
  AND account_first_time < current_date - INTERVAL '6' DAY
ORDER BY first_time;
