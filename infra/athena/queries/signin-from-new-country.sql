-- Sign-ins from a new country
-- Successful sign-ins of the last 7 days from a country that the user had not signed in from before.
-- Window: 37 days: the last 7, today included, against the 30 before
-- Opens: 37 feed-days
WITH countries AS (
  SELECT
    account,
    user_uuid,
    max(user_email) AS user_email,
    COALESCE(country, location_country) AS country,
    min(event_time) AS first_time,
    count(*) AS signins
  FROM signin_attempts
  WHERE
    event_date BETWEEN date_format(current_date - INTERVAL '36' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
    AND category IN ('success', 'firewall_reported_success')
  GROUP BY account, user_uuid, COALESCE(country, location_country)
),
users AS (
  SELECT *, min(first_time) OVER (PARTITION BY account, user_uuid) AS user_first_time
  FROM countries
)
SELECT account, user_email, country, first_time, signins
FROM users
WHERE
  first_time >= current_date - INTERVAL '6' DAY
  AND user_first_time < current_date - INTERVAL '6' DAY
ORDER BY first_time;
