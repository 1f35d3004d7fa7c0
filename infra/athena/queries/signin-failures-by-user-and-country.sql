-- Failed sign-ins by user and country
-- Who fails to sign in, from where, and why.
-- Window: 7 days, today included
-- Opens: 7 feed-days
SELECT
  account,
  user_email,
  COALESCE(country, location_country) AS country,
  category,
  type,
  count(*) AS attempts,
  min(event_time) AS first_time,
  max(event_time) AS last_time
FROM signin_attempts
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '6' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND category NOT IN ('success', 'firewall_reported_success')
GROUP BY 1, 2, 3, 4, 5
ORDER BY attempts DESC, user_email, country, category, type;
