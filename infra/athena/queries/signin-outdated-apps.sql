-- Sign-ins refused for an outdated app
-- Who is to update which app.
-- Window: 30 days, today included
-- Opens: 30 feed-days
SELECT
  account,
  user_email,
  app_name,
  app_version,
  platform_name,
  os_name,
  count(*) AS attempts,
  max(event_time) AS last_time
FROM signin_attempts
WHERE
  event_date BETWEEN date_format(current_date - INTERVAL '29' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
  AND category = 'modern_version_failed'
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY last_time DESC;
