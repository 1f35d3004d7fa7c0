-- Successful sign-ins after failures
-- A user signed in after five or more failures within the hour before: a guessed password, perhaps.
-- Window: 7 days, today included
-- Opens: 7 feed-days
WITH attempts AS (
  SELECT
    *,
    category IN ('success', 'firewall_reported_success') AS succeeded,
    sum(CASE WHEN category IN ('success', 'firewall_reported_success') THEN 0 ELSE 1 END) OVER (
      PARTITION BY account, user_uuid
      ORDER BY event_time
      RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW
    ) AS failures
  FROM signin_attempts
  WHERE event_date BETWEEN date_format(current_date - INTERVAL '6' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
)
SELECT
  event_time,
  account,
  user_email,
  failures,
  type,
  ip_address,
  COALESCE(country, location_country) AS country
FROM attempts
WHERE succeeded AND failures >= 5
ORDER BY event_time;
