-- Sign-ins that a firewall rule matched
-- Blocked by the rule, or let through and reported.
-- Window: 7 days, today included
-- Opens: 7 feed-days
SELECT
  event_time,
  account,
  user_email,
  category,
  type,
  details_value,
  ip_address,
  COALESCE(country, location_country) AS country
FROM signin_attempts
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '6' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND category IN ('firewall_failed', 'firewall_reported_success')
ORDER BY event_time;
