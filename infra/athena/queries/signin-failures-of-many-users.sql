-- Failed sign-ins of many users from one address
-- Addresses from which five or more users failed within an hour of the clock: somebody tries passwords.
-- Window: 7 days, today included
-- Opens: 7 feed-days
SELECT
  account,
  ip_address,
  date_trunc('hour', event_time) AS hour,
  count(DISTINCT user_uuid) AS users,
  count(*) AS attempts,
  max(COALESCE(country, location_country)) AS country
FROM signin_attempts
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '6' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND category NOT IN ('success', 'firewall_reported_success')
GROUP BY 1, 2, 3
HAVING count(DISTINCT user_uuid) >= 5
ORDER BY users DESC, hour;
