-- Impossible travel
-- Two successful sign-ins of a user that are more than 500 km apart, faster than 900 km/h.
-- Window: 7 days, today included
-- Opens: 7 feed-days
WITH signins AS (
  SELECT
    account,
    user_uuid,
    user_email,
    event_time,
    ip_address,
    location_city,
    location_latitude AS latitude,
    location_longitude AS longitude
  FROM signin_attempts
  WHERE
    event_date BETWEEN date_format(current_date - INTERVAL '6' DAY, '%Y-%m-%d') AND date_format(current_date, '%Y-%m-%d')
    AND category IN ('success', 'firewall_reported_success')
    AND location_latitude IS NOT NULL
    AND location_longitude IS NOT NULL
),
pairs AS (
  SELECT
    *,
    lag(event_time) OVER previous AS from_time,
    lag(ip_address) OVER previous AS from_ip_address,
    lag(location_city) OVER previous AS from_city,
    lag(latitude) OVER previous AS from_latitude,
    lag(longitude) OVER previous AS from_longitude
  FROM signins
  WINDOW previous AS (PARTITION BY account, user_uuid ORDER BY event_time)
),
journeys AS (
  SELECT
    *,
    -- The great circle, by the haversine formula; the least() is for rounding.
    2 * 6371 * asin(least(1, sqrt(
      power(sin(radians(latitude - from_latitude) / 2), 2)
      + cos(radians(from_latitude)) * cos(radians(latitude)) * power(sin(radians(longitude - from_longitude) / 2), 2)
    ))) AS km,
    date_diff('second', from_time, event_time) / 3600e0 AS hours
  FROM pairs
  WHERE from_time IS NOT NULL
)
SELECT
  account,
  user_email,
  from_time,
  from_city,
  from_ip_address,
  event_time AS to_time,
  location_city AS to_city,
  ip_address AS to_ip_address,
  CAST(round(km) AS bigint) AS km
FROM journeys
WHERE km > 500 AND km > 900 * hours
ORDER BY to_time;
